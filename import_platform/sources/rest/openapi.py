"""A first declaration from an OpenAPI document: lists, how they are paged, keys, cursors, parents. Guesses say so."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ITEM_KEYS = ("data", "items", "results", "records", "values", "rows", "entries", "content")
CURSORS = ("updated_at", "updatedAt", "modified_at", "last_modified", "updated", "modified", "updated_time")
STARTS = ("since", "updated_since", "updated_after", "modified_since", "updated_at_min", "updated_from", "from")
SINCE_IDS = ("since_id", "sinceId", "after_id", "min_id")
NEXT_LINKS = ("next", "next_url", "next_page_url", "nextLink", "@odata.nextLink")
NEXT_TOKENS = ("next_cursor", "nextCursor", "next_page_token", "nextPageToken", "cursor", "next_token")
_PARAMETER = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True)
class Draft:
    """`declaration` is a whole defs.yaml; `undecided` what a person has to look at."""

    declaration: dict[str, Any]
    undecided: tuple[str, ...]

    @property
    def resources(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.declaration["attributes"]["connection"]["resources"]
        return found


@dataclass(frozen=True)
class _Listed:
    """One GET that answers with a list."""

    path: str
    name: str
    operation: Mapping[str, Any]
    selector: str
    row: Mapping[str, Any]
    answer: Mapping[str, Any]


def draft(name: str, document: Mapping[str, Any]) -> Draft:
    """Every list that the document describes, children under parents that are listed too."""
    reader = _Reader(document)
    lists = reader.lists()
    roots = {listed.path: listed for listed in lists if not _PARAMETER.search(listed.path)}
    notes: list[str] = [] if lists else ["no GET answers with a list; write resources by hand"]
    resources = []
    for listed in lists:
        endpoint: dict[str, Any] = {"path": listed.path.lstrip("/"), "data_selector": listed.selector}
        resource: dict[str, Any] = {"name": listed.name}
        key = reader.key(listed)
        if key is None:
            notes.append(f"{listed.name}: no field looks like its primary key")
        else:
            resource["primary_key"] = key
        if _PARAMETER.search(listed.path) and not _adopted(listed, roots, endpoint, notes):
            continue
        endpoint |= reader.paging(listed, notes)
        cursor = reader.incremental(listed, notes) if listed.path in roots else None
        if cursor is not None:
            endpoint["incremental"] = cursor
        elif listed.path in roots:
            notes.append(f"{listed.name}: nothing asks for changes only, so every sync reads all of it")
        resources.append({**resource, "endpoint": endpoint})
    client = {"base_url": reader.base_url(notes), **reader.auth(name, notes)}
    connection = {"kind": "rest", "client": client, "resources": resources}
    return Draft(
        {"type": "import_platform.components.ExternalSource", "attributes": {"name": name, "connection": connection}},
        tuple(notes),
    )


def _adopted(listed: _Listed, roots: Mapping[str, _Listed], endpoint: dict[str, Any], notes: list[str]) -> bool:
    """Names the parent in the path; False when no listed path gives the parameter's value."""
    names = _PARAMETER.findall(listed.path)
    parent = roots.get(listed.path.partition("/{")[0])
    if len(names) != 1 or parent is None:
        notes.append(f"{listed.path}: left out, because no list gives {', '.join(names)}")
        return False
    properties = parent.row.get("properties", {})
    field = names[0] if names[0] in properties else "id"
    endpoint["path"] = listed.path.lstrip("/").replace(f"{{{names[0]}}}", f"{{resources.{parent.name}.{field}}}")
    if field != names[0]:
        notes.append(f"{listed.name}: {names[0]} is taken from {parent.name}.id")
    return True


class _Reader:
    """Looks things up in one document, following references."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def lists(self) -> list[_Listed]:
        found: list[_Listed] = []
        for path, item in sorted(self._document["paths"].items()):
            operation = self._resolved(item.get("get")) if isinstance(item, Mapping) else {}
            if operation and item.get("parameters"):  # those of every operation on the path
                operation = {**operation, "parameters": [*item["parameters"], *(operation.get("parameters") or ())]}
            answer = self._answer(operation)
            selector, row = self._rows(answer)
            if selector is not None and not path.rstrip("/").endswith("}"):
                found.append(_Listed(path, _name(path, found), operation, selector, row, answer))
        return found

    def key(self, listed: _Listed) -> str | None:
        properties = listed.row.get("properties", {})
        singular = listed.name.rstrip("s")
        return next((n for n in ("id", "uuid", f"{singular}_id", f"{singular}Id", "key") if n in properties), None)

    def incremental(self, listed: _Listed, notes: list[str]) -> dict[str, Any] | None:
        properties, asked = listed.row.get("properties", {}), self._parameters(listed.operation)
        cursor = next((name for name in CURSORS if name in properties), None)
        start = next((name for name in STARTS if name in asked), None)
        if cursor and start:
            return {"cursor_path": cursor, "start_param": start}
        grows = next((name for name in SINCE_IDS if name in asked), None)
        if grows is None or "id" not in properties:
            return None
        notes.append(f"{listed.name}: {grows} is taken to give rows by growing id; correct row_order if it does not")
        return {"cursor_path": "id", "start_param": grows, "start_exclusive": True, "row_order": "asc"}

    def paging(self, listed: _Listed, notes: list[str]) -> dict[str, Any]:
        """The paginator and the parameter for the most rows a page."""
        asked, properties = self._parameters(listed.operation), self._told(listed)
        size = next((n for n in ("limit", "per_page", "page_size", "pageSize", "size") if n in asked), None)
        most = int(self._resolved(asked[size].get("schema")).get("maximum", 100)) if size else 100
        params = {"params": {size: most}} if size and "offset" not in asked else {}
        token = _first(NEXT_TOKENS, properties)
        takes = next((n for n in ("cursor", "page_token", "pageToken", "starting_after", "after") if n in asked), None)
        link = _first(NEXT_LINKS, properties)
        words: Any = "single_page"
        if token and takes:
            words = {"type": "cursor", "cursor_path": token, "cursor_param": takes}
        elif "has_more" in properties and takes == "starting_after":
            last = f"{listed.selector}[-1].id"
            words = {"type": "cursor", "cursor_path": last, "cursor_param": takes, "has_more_path": "has_more"}
        elif link:
            words = {"type": "json_link", "next_url_path": link}
        elif "offset" in asked:
            words = {"type": "offset", "limit": most, **({"limit_param": size} if size else {})}
        elif "page" in asked:
            words = {"type": "page_number", "base_page": 1}
        elif self._has_link_header(listed.operation):
            words = "header_link"
        else:
            notes.append(f"{listed.name}: how the next page is asked for is not described; single_page is a guess")
        return {**params, "paginator": words}

    def _told(self, listed: _Listed) -> list[str]:
        """Paths of what stands beside the rows, also one level down: `next_cursor`, `meta.next_cursor`."""
        found: list[str] = []
        for name, raw in (listed.answer.get("properties") or {}).items():
            inside = self._resolved(raw).get("properties") or {}
            found += [name, *(f"{name}.{inner}" for inner in inside)] if name != listed.selector else []
        return found

    def base_url(self, notes: list[str]) -> str:
        servers = self._document.get("servers") or [{}]
        url = str(servers[0].get("url", ""))
        if not url and self._document.get("host"):
            url = f"https://{self._document['host']}{self._document.get('basePath', '')}"
        if not url.startswith("http"):
            notes.append("the document names no server; correct base_url")
            return "https://api.example.com"
        return url

    def auth(self, name: str, notes: list[str]) -> dict[str, Any]:
        components = self._document.get("components") or {}
        schemes = components.get("securitySchemes") or self._document.get("securityDefinitions") or {}
        variable = f"{{{{ env.{name.upper()}_TOKEN }}}}"
        for raw in schemes.values():
            scheme = self._resolved(raw)
            if scheme.get("type") == "http" and scheme.get("scheme", "").lower() == "bearer":
                return {"auth": {"type": "bearer", "token": variable}}
            if scheme.get("type") == "apiKey" and scheme.get("in") in ("header", "query"):
                words = {"type": "api_key", "name": scheme.get("name"), "location": scheme["in"], "api_key": variable}
                return {"auth": words}
            if scheme.get("type") in ("basic", "http"):
                user = f"{{{{ env.{name.upper()}_USER }}}}"
                return {"auth": {"type": "http_basic", "username": user, "password": variable}}
        for raw in schemes.values():
            flow = self._resolved(self._resolved(raw).get("flows")).get("clientCredentials") or {}
            if flow.get("tokenUrl"):
                return {"auth": _client_credentials(name, str(flow["tokenUrl"]))}
        notes.append("the document does not say how to sign in, or in a way that needs a browser; add client.auth")
        return {}

    def _rows(self, answer: Mapping[str, Any]) -> tuple[str | None, Mapping[str, Any]]:
        if answer.get("type") == "array":
            return "$", self._resolved(answer.get("items"))
        properties = answer.get("properties", {})
        arrays = {n: self._resolved(p) for n, p in properties.items() if self._resolved(p).get("type") == "array"}
        objects = {n: a for n, a in arrays.items() if self._resolved(a.get("items")).get("properties")}
        name = next((n for n in ITEM_KEYS if n in objects), next(iter(objects), None) if len(objects) == 1 else None)
        return (name, self._resolved(objects[name].get("items"))) if name is not None else (None, {})

    def _answer(self, operation: Mapping[str, Any]) -> Mapping[str, Any]:
        answers = operation.get("responses") or {}
        good = self._resolved(answers.get("200") or answers.get(200) or answers.get("2XX"))
        content = (good.get("content") or {}).get("application/json") or {}
        return self._resolved(content.get("schema") or good.get("schema"))

    def _parameters(self, operation: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
        each = [self._resolved(parameter) for parameter in operation.get("parameters") or ()]
        return {str(p["name"]): p for p in each if p.get("in") == "query"}

    def _has_link_header(self, operation: Mapping[str, Any]) -> bool:
        answers = operation.get("responses") or {}
        return "Link" in (self._resolved(answers.get("200") or answers.get(200)).get("headers") or {})

    def _resolved(self, value: Any) -> Mapping[str, Any]:
        """The object itself, references followed and `allOf` merged; empty for anything else."""
        for _ in range(20):
            reference = value.get("$ref") if isinstance(value, Mapping) else None
            if not isinstance(reference, str) or not reference.startswith("#/"):
                break
            found: Any = self._document
            for part in reference[2:].split("/"):
                found = found.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, Mapping) else {}
            value = found
        if not isinstance(value, Mapping):
            return {}
        parts = [self._resolved(part) for part in value.get("allOf") or ()]
        if not parts:
            return value
        properties = {n: p for part in (*parts, value) for n, p in (part.get("properties") or {}).items()}
        return {**value, "type": "object", "properties": properties}


def _client_credentials(name: str, token_url: str) -> dict[str, Any]:
    given = {key: f"{{{{ env.{name.upper()}_{key.upper()} }}}}" for key in ("client_id", "client_secret")}
    return {"type": "oauth2_client_credentials", "access_token_url": token_url, **given}


def _first(names: tuple[str, ...], paths: list[str]) -> str | None:
    """The path whose last part is the most telling of these names."""
    return next((path for name in names for path in paths if path.rpartition(".")[2] == name), None)


def _name(path: str, found: list[_Listed]) -> str:
    words = [re.sub(r"\W", "_", part) for part in path.strip("/").split("/") if not part.startswith("{")]
    plain = words[-1] if words else "root"
    plain = f"list_{plain}" if plain[0].isdigit() else plain
    taken = {listed.name for listed in found}
    name = plain if plain not in taken else "_".join(words[-2:])
    return name if name not in taken else f"{name}_{len(found)}"
