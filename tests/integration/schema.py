"""A small JSON Schema validator: the keywords that openapi.yaml and sweep-spec.schema.json use, no others."""
import re

TYPES = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
    "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
}
NOTES = {"description", "summary", "default", "format", "title", "$schema", "$defs", "x-role"}


class Validator:
    def __init__(self, document):
        self.document = document

    def resolve(self, reference):
        assert reference.startswith("#/"), reference
        node = self.document
        for part in reference[2:].split("/"):
            node = node[part.replace("~1", "/").replace("~0", "~")]
        return node

    def errors(self, value, schema, where="$"):
        """What is wrong with value, as a list of sentences."""
        if schema is True or schema == {}:
            return []
        if schema is False:
            return [f"{where}: not allowed"]
        found = []
        for keyword, argument in schema.items():
            if keyword in NOTES:
                continue
            check = getattr(self, "_" + keyword.lstrip("$"), None)
            assert check, f"keyword {keyword} is not known to this validator"
            found += check(value, argument, where, schema)
        return found

    def assert_valid(self, value, schema):
        found = self.errors(value, schema)
        assert not found, "; ".join(found)

    # --- keywords ------------------------------------------------------------------------------------

    def _ref(self, value, argument, where, schema):
        return self.errors(value, self.resolve(argument), where)

    def _type(self, value, argument, where, schema):
        names = argument if isinstance(argument, list) else [argument]
        return [] if any(TYPES[name](value) for name in names) else [f"{where}: {value!r} is not {' or '.join(names)}"]

    def _enum(self, value, argument, where, schema):
        return [] if any(value == one and type(value) is type(one) for one in argument) else [f"{where}: {value!r} is none of {argument}"]

    def _const(self, value, argument, where, schema):
        return [] if value == argument else [f"{where}: {value!r} is not {argument!r}"]

    def _required(self, value, argument, where, schema):
        return [f"{where}: no {key}" for key in argument if isinstance(value, dict) and key not in value]

    def _properties(self, value, argument, where, schema):
        if not isinstance(value, dict):
            return []
        return [e for key, sub in argument.items() if key in value for e in self.errors(value[key], sub, f"{where}.{key}")]

    def _additionalProperties(self, value, argument, where, schema):
        if not isinstance(value, dict):
            return []
        others = [key for key in value if key not in schema.get("properties", {})]
        return [e for key in others for e in self.errors(value[key], argument, f"{where}.{key}")]

    def _propertyNames(self, value, argument, where, schema):
        return [e for key in value for e in self.errors(key, argument, f"{where}.{key}")] if isinstance(value, dict) else []

    def _items(self, value, argument, where, schema):
        return [e for i, item in enumerate(value) for e in self.errors(item, argument, f"{where}[{i}]")] if isinstance(value, list) else []

    def _allOf(self, value, argument, where, schema):
        return [e for sub in argument for e in self.errors(value, sub, where)]

    def _anyOf(self, value, argument, where, schema):
        results = [self.errors(value, sub, where) for sub in argument]
        return [] if any(not r for r in results) else [f"{where}: fits none of anyOf: {min(results, key=len)}"]

    def _oneOf(self, value, argument, where, schema):
        results = [self.errors(value, sub, where) for sub in argument]
        return [] if sum(not r for r in results) == 1 else [f"{where}: fits {sum(not r for r in results)} of oneOf: {min(results, key=len)}"]

    def _if(self, value, argument, where, schema):
        branch = schema.get("else", True) if self.errors(value, argument, where) else schema.get("then", True)
        return self.errors(value, branch, where)

    def _then(self, value, argument, where, schema):
        return []

    _else = _then

    def _pattern(self, value, argument, where, schema):
        return [f"{where}: {value!r} does not match {argument}"] if isinstance(value, str) and not re.search(argument, value) else []

    def _bound(self, value, wrong, where, text):
        return [f"{where}: {value!r} {text}"] if TYPES["number"](value) and wrong else []

    def _minimum(self, value, argument, where, schema):
        return self._bound(value, TYPES["number"](value) and value < argument, where, f"< {argument}")

    def _maximum(self, value, argument, where, schema):
        return self._bound(value, TYPES["number"](value) and value > argument, where, f"> {argument}")

    def _exclusiveMinimum(self, value, argument, where, schema):
        return self._bound(value, TYPES["number"](value) and value <= argument, where, f"<= {argument}")

    def _size(self, value, kind, wrong, where, text):
        return [f"{where}: {text}"] if isinstance(value, kind) and wrong(len(value)) else []

    def _minLength(self, value, argument, where, schema):
        return self._size(value, str, lambda n: n < argument, where, "too short")

    def _maxLength(self, value, argument, where, schema):
        return self._size(value, str, lambda n: n > argument, where, "too long")

    def _minItems(self, value, argument, where, schema):
        return self._size(value, list, lambda n: n < argument, where, "too few items")

    def _maxItems(self, value, argument, where, schema):
        return self._size(value, list, lambda n: n > argument, where, "too many items")

    def _minProperties(self, value, argument, where, schema):
        return self._size(value, dict, lambda n: n < argument, where, "too few members")

    def _maxProperties(self, value, argument, where, schema):
        return self._size(value, dict, lambda n: n > argument, where, "too many members")
