"""A first declaration from an OpenAPI document really loads, and says what it could not decide."""

from __future__ import annotations

from typing import Any

from import_platform.sources.rest.declaration import parse
from import_platform.sources.rest.openapi import draft

CUSTOMER = {
    "type": "object",
    "properties": {"id": {"type": "integer"}, "name": {"type": "string"}, "updated_at": {"type": "string"}},
}


def listing(answer: dict[str, Any], *parameters: str, headers: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "get": {
            "parameters": [{"name": name, "in": "query", "schema": {"maximum": 250}} for name in parameters],
            "responses": {"200": {"content": {"application/json": {"schema": answer}}, "headers": headers or {}}},
        }
    }


def page(**others: Any) -> dict[str, Any]:
    items = {"type": "array", "items": {"$ref": "#/components/schemas/Customer"}}
    return {"type": "object", "properties": {"data": items, **others}}


DOCUMENT: dict[str, Any] = {
    "openapi": "3.0.0",
    "servers": [{"url": "https://api.shop.example/v2"}],
    "components": {
        "schemas": {"Customer": CUSTOMER},
        "securitySchemes": {"main": {"type": "http", "scheme": "bearer"}},
    },
    "paths": {
        "/customers": listing(page(next_cursor={"type": "string"}), "limit", "cursor", "updated_since"),
        "/customers/{customer_id}": {"get": {"responses": {"200": {}}}},
        "/customers/{customer_id}/addresses": listing(page(), "page", "per_page"),
        "/orders": listing(page(has_more={"type": "boolean"}), "limit", "starting_after"),
        "/logs": listing({"type": "array", "items": {"type": "object"}}, headers={"Link": {}}),
        "/places": listing(page(total={"type": "integer"}), "offset", "limit"),
        "/links": listing(page(next={"type": "string"})),
        "/shops/{shop}/items": listing(page(), "page"),
        "/health": {"get": {"responses": {"200": {"content": {"application/json": {"schema": {"type": "object"}}}}}}},
    },
}


def drafted() -> tuple[dict[str, Any], tuple[str, ...]]:
    made = draft("shop", DOCUMENT)
    return {resource["name"]: resource for resource in made.resources}, made.undecided


def test_lists_become_resources_and_other_paths_do_not() -> None:
    found, _ = drafted()
    assert set(found) == {"customers", "addresses", "orders", "logs", "places", "links"}


def test_the_draft_loads_as_it_stands() -> None:
    connection = draft("shop", DOCUMENT).declaration["attributes"]["connection"]
    api = parse(connection)
    assert api.client.base_url == "https://api.shop.example/v2"
    assert api.client.auth is not None
    assert api.client.auth.token == "{{ env.SHOP_TOKEN }}"


def test_paginators_are_told_from_parameters_and_answers() -> None:
    found, _ = drafted()
    paginators = {name: resource["endpoint"]["paginator"] for name, resource in found.items()}
    assert paginators["customers"] == {"type": "cursor", "cursor_path": "next_cursor", "cursor_param": "cursor"}
    assert paginators["orders"]["cursor_path"] == "data[-1].id"
    assert paginators["places"] == {"type": "offset", "limit": 250, "limit_param": "limit"}
    assert paginators["addresses"] == {"type": "page_number", "base_page": 1}
    assert paginators["links"] == {"type": "json_link", "next_url_path": "next"}
    assert paginators["logs"] == "header_link"
    assert found["customers"]["endpoint"]["params"] == {"limit": 250}


def test_keys_cursors_and_parents_are_found() -> None:
    found, _ = drafted()
    assert found["customers"]["primary_key"] == "id"
    assert found["customers"]["endpoint"]["incremental"] == {
        "cursor_path": "updated_at",
        "start_param": "updated_since",
    }
    assert found["addresses"]["endpoint"]["path"] == "customers/{resources.customers.id}/addresses"


def test_ids_that_grow_tokens_one_level_down_and_parameters_of_a_path_are_seen() -> None:
    meta = {"type": "object", "properties": {"next_cursor": {"type": "string"}}}
    of_path = {"parameters": [{"name": "cursor", "in": "query"}, {"$ref": "#/components/parameters/since"}]}
    document = {
        **DOCUMENT,
        "components": {
            **DOCUMENT["components"],
            "parameters": {"since": {"name": "since_id", "in": "query"}},
            "securitySchemes": {
                "main": {
                    "type": "oauth2",
                    "flows": {"clientCredentials": {"tokenUrl": "https://api.shop.example/token"}},
                }
            },
        },
        "paths": {"/events": {**of_path, **listing(page(meta=meta))}, "/2024": listing(page(), "page")},
    }
    made = draft("shop", document)
    assert parse(made.declaration["attributes"]["connection"]).client.auth
    found = {resource["name"]: resource["endpoint"] for resource in made.resources}
    assert found["events"]["paginator"] == {
        "type": "cursor",
        "cursor_path": "meta.next_cursor",
        "cursor_param": "cursor",
    }
    assert found["events"]["incremental"]["start_param"] == "since_id"
    assert found["list_2024"]["path"] == "2024"
    assert any("since_id" in note for note in made.undecided)


def test_what_could_not_be_decided_is_said() -> None:
    _, undecided = drafted()
    said = "\n".join(undecided)
    assert "/shops/{shop}/items: left out" in said
    assert "logs: no field looks like its primary key" in said
    assert "customer_id is taken from customers.id" in said
