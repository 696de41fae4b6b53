"""An OpenAPI description of the endpoints, from which Schemathesis makes requests, right ones and wrong ones."""

ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string", "minLength": 1}}}
VALUE = {"anyOf": [{"type": "number"}, {"type": "string"}, {"type": "boolean"}]}
SIDE = {"type": "integer", "minimum": 0, "maximum": 64}
TENSOR = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"type": "string", "enum": ["input", "image", "other"]},
        "datatype": {"type": "string", "enum": ["FP32", "BYTES", "INT8"]},
        "shape": {"type": "array", "items": SIDE, "maxItems": 5},
        "parameters": {"type": "object", "additionalProperties": VALUE},
        "data": {"type": "array", "items": VALUE},
    },
}
OUTPUT = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "enum": ["logits", "probabilities", "classes", "scores", "macs_ratio", "rates", "masks",
                                            "density", "heat_map", "other"]},
        "parameters": {"type": "object", "properties": {"binary_data": {"type": "boolean"},
                                                        "classification": {"type": "integer"}}},
    },
}
INFER = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "parameters": {"type": "object", "properties": {"threshold": VALUE, "macs": {"type": "number"},
                                                        "budget_ms": {"type": "number"}, "dense": {"type": "boolean"},
                                                        "top_k": {"type": "integer"}, "timeout": {"type": "integer"}}},
        "inputs": {"type": "array", "items": TENSOR, "maxItems": 2},
        "outputs": {"type": "array", "items": OUTPUT, "maxItems": 4},
    },
}
NAME = {"name": "name", "in": "path", "required": True, "schema": {"anyOf": [{"enum": ["demo"]}, {"type": "string", "minLength": 1}]}}
JSON_SIZE = {"name": "Inference-Header-Content-Length", "in": "header",
             "schema": {"anyOf": [{"type": "integer"}, {"type": "string"}]}}


def answers(schema, *codes, kind="application/json"):
    """Success as described, and refusals that say why."""
    described = {str(code): {"description": "refused", "content": {"application/json": {"schema": ERROR}}} for code in codes}
    return {"200": {"description": "answered", "content": {kind: {"schema": schema}}}, **described}


def get(schema, *parameters, kind="application/json"):
    """A path that is read."""
    codes = (400, 404, 414, 431) if parameters else (400, 431)
    return {"get": {"parameters": list(parameters), "responses": answers(schema, *codes, kind=kind)}}


def having(*names):
    """An object with these properties at least."""
    return {"type": "object", "required": list(names)}


def post(body, schema, *parameters):
    """A path that is sent JSON, or other bytes."""
    content = {"application/json": {"schema": body}, "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    return {"post": {"parameters": list(parameters), "requestBody": {"required": True, "content": content},
                     "responses": answers(schema, 400, 404, 408, 413, 414, 415, 431)}}


OPENAPI = {
    "openapi": "3.0.3",
    "info": {"title": "lasnet serve", "version": "1"},
    "paths": {
        "/v2": get(having("name", "version", "extensions")),
        "/v2/health/live": get(having("live")),
        "/v2/health/ready": get(having("ready")),
        "/v2/lasnet": get(having("models", "workers")),
        "/v2/models/stats": get(having("model_stats")),
        "/metrics": get({"type": "string"}, kind="text/plain"),
        "/": get({"type": "string"}, kind="text/html"),
        "/v2/models/{name}": get(having("name", "inputs", "outputs"), NAME),
        "/v2/models/{name}/ready": get(having("ready"), NAME),
        "/v2/models/{name}/config": get(having("name", "input", "output"), NAME),
        "/v2/models/{name}/stats": get(having("model_stats"), NAME),
        "/v2/models/{name}/infer": post(INFER, having("model_name", "outputs"), NAME, JSON_SIZE),
        "/v2/repository/index": post({}, {"type": "array"}),
    },
}
