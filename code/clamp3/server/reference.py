"""The list of all addresses as a page without scripts, made of the server's own schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse


def add_to(app: FastAPI) -> None:
    """Add this address."""
    app.add_api_route("/reference", _reference, response_class=HTMLResponse, include_in_schema=False)


async def _reference(request: Request) -> HTMLResponse:
    schema = request.app.openapi()
    parts = [part for path, methods in schema["paths"].items() for part in _address(path, methods, schema)]
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>Addresses of this server</title>'
    return HTMLResponse(f"{head}<h1>Addresses of this server</h1>{''.join(parts)}</html>")


def _address(path: str, methods: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    for method, what in methods.items():
        yield f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(what.get('description', ''))}</p>"
        rows = [(each["name"], each["schema"], each.get("required", False)) for each in what.get("parameters", [])]
        content = what.get("requestBody", {}).get("content", {})
        if "application/octet-stream" in content:
            yield "<p>The body is the file itself.</p>"
        body = content.get("application/json", {}).get("schema", {})
        fields = _resolved(body, schema)
        rows += [
            (name, field, name in fields.get("required", [])) for name, field in fields.get("properties", {}).items()
        ]
        if rows:
            listed = (
                f"<li><code>{escape(name)}</code>: {_type(kind)}{', required' * must}" for name, kind, must in rows
            )
            yield f"<ul>{''.join(listed)}</ul>"


def _resolved(value: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    name = value.get("$ref", "").rpartition("/")[2]
    found: Mapping[str, Any] = schema["components"]["schemas"][name] if name else value
    return found


def _type(value: Mapping[str, Any]) -> str:
    if "$ref" in value:
        return escape(value["$ref"].rpartition("/")[2])
    if "anyOf" in value:
        return " or ".join(_type(each) for each in value["anyOf"])
    said = escape(str(value.get("type", "")))
    if said == "array" and "items" in value:
        said = f"list of {_type(value['items'])}"
    limits = {"minimum": "from", "maximum": "to", "maxLength": "at most", "maxItems": "at most"}
    return said + "".join(f", {word} {value[name]}" for name, word in limits.items() if name in value)
