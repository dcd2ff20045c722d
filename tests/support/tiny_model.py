"""A model folder and a data folder small enough to train on in a moment, in the forms that Hugging Face and GLUE use.
Weights are drawn, sentences are made of a few dozen words; label 1 means that both say the same thing."""
import array
import json
import pathlib
import random
import struct

WORDS = ("red green blue small large old new warm cold quick slow cat dog bird horse fish house river stone tree road sees "
         "finds takes keeps likes carries the a one every this that near behind under over with and then again").split()
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def vocabulary():
    return SPECIAL + [".", ","] + WORDS + ["##s", "##ed"]


def shapes(dim, hidden, layers, vocab, positions):
    yield "distilbert.embeddings.word_embeddings.weight", (vocab, dim)
    yield "distilbert.embeddings.position_embeddings.weight", (positions, dim)
    yield "distilbert.embeddings.LayerNorm.weight", (dim,)
    yield "distilbert.embeddings.LayerNorm.bias", (dim,)
    for layer in range(layers):
        prefix = f"distilbert.transformer.layer.{layer}."
        for name in ("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"):
            yield prefix + name + ".weight", (dim, dim)
            yield prefix + name + ".bias", (dim,)
        yield prefix + "sa_layer_norm.weight", (dim,)
        yield prefix + "sa_layer_norm.bias", (dim,)
        yield prefix + "ffn.lin1.weight", (hidden, dim)
        yield prefix + "ffn.lin1.bias", (hidden,)
        yield prefix + "ffn.lin2.weight", (dim, hidden)
        yield prefix + "ffn.lin2.bias", (dim,)
        yield prefix + "output_layer_norm.weight", (dim,)
        yield prefix + "output_layer_norm.bias", (dim,)


def draw(name, shape, rng):
    size = 1
    for n in shape:
        size *= n
    if name.lower().endswith("norm.weight"):
        return array.array("f", [1.0]) * size
    if name.endswith("bias") or rng is None:
        return array.array("f", [0.0]) * size
    return array.array("f", [rng.gauss(0, 0.1) for _ in range(size)])


def write_safetensors(path, tensors):
    """tensors: {name: (shape, array of float32)}"""
    header, offset = {}, 0
    for name, (shape, values) in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, offset + 4 * len(values)]}
        offset += 4 * len(values)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, values in tensors.values():
            file.write(values.tobytes())


def read_safetensors(path):
    """{name: (shape, bytes)}"""
    data = pathlib.Path(path).read_bytes()
    (n,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + n])
    return {name: (tuple(entry["shape"]), data[8 + n + entry["data_offsets"][0]:8 + n + entry["data_offsets"][1]])
            for name, entry in header.items() if name != "__metadata__"}


def write_model(folder, seed=1,  # None: all weights 0, quick to write
                dim=32, hidden=64, layers=2, heads=4, positions=64, **config):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    vocab = vocabulary()
    rng = None if seed is None else random.Random(seed)
    tensors = {name: (shape, draw(name, shape, rng)) for name, shape in shapes(dim, hidden, layers, len(vocab), positions)}
    write_safetensors(folder / "model.safetensors", tensors)
    (folder / "vocab.txt").write_text("\n".join(vocab) + "\n")
    (folder / "config.json").write_text(json.dumps({
        "activation": "gelu", "architectures": ["DistilBertModel"], "attention_dropout": 0.1, "dim": dim, "dropout": 0.1,
        "hidden_dim": hidden, "initializer_range": 0.02, "max_position_embeddings": positions, "model_type": "distilbert",
        "n_heads": heads, "n_layers": layers, "pad_token_id": 0, "qa_dropout": 0.1, "seq_classif_dropout": 0.2,
        "sinusoidal_pos_embds": False, "vocab_size": len(vocab), **config}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}))
    return folder


def sentence(rng):
    return [rng.choice(WORDS) for _ in range(rng.randint(3, 12))]


def pair(rng):
    first = sentence(rng)
    if rng.random() < 0.6:
        second = list(first)
        second[rng.randrange(len(second))] = rng.choice(WORDS)
        return 1, first, second
    return 0, first, sentence(rng)


def write_data(folder, train=64, dev=32, seed=2):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    for name, rows in (("train", train), ("dev", dev)):
        lines = ["Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"]
        for i in range(rows):
            label, first, second = pair(rng)
            lines.append(f"{label}\t{2 * i}\t{2 * i + 1}\t{' '.join(first).capitalize()} .\t{' '.join(second).capitalize()} .")
        (folder / f"{name}.tsv").write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8")
    return folder
