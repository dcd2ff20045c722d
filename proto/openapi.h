/* The contract's OpenAPI description as JSON text, made from openapi.yaml at build time. */
#pragma once

extern const char openapi_json[];
