"""Views that stand on a table whose column changes its type: set aside and made again, with owner and grants."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from import_platform.core.postgres_text import literal, quoted
from import_platform.errors import TargetRejected
from import_platform.io.postgres_target import TargetTransaction

_DEPENDENT = """
WITH RECURSIVE above AS (
    SELECT r.ev_class AS view, 1 AS depth
    FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
    WHERE d.classid = 'pg_rewrite'::regclass AND d.refobjid = {table} AND r.ev_class <> d.refobjid
  UNION
    SELECT r.ev_class, a.depth + 1
    FROM above a JOIN pg_depend d ON d.refobjid = a.view JOIN pg_rewrite r ON r.oid = d.objid
    WHERE d.classid = 'pg_rewrite'::regclass AND r.ev_class <> d.refobjid AND a.depth < 100
)
SELECT c.relkind::text AS kind, a.view::regclass::text AS name, pg_get_viewdef(a.view) AS body,
    pg_get_userbyid(c.relowner)::text AS owner, array_to_string(c.reloptions, ', ') AS options,
    obj_description(a.view, 'pg_class') AS comment, a.view::text AS oid
FROM (SELECT view, max(depth) AS depth FROM above GROUP BY view) a JOIN pg_class c ON c.oid = a.view
ORDER BY a.depth, a.view
"""
_GRANTS = """
SELECT CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END AS grantee,
    g.privilege_type::text AS privilege, g.is_grantable AS grantable, quote_ident(x.attname) AS on_column
FROM (
    SELECT relacl AS acl, NULL::name AS attname FROM pg_class WHERE oid = {oid}
  UNION ALL
    SELECT attacl, attname FROM pg_attribute WHERE attrelid = {oid} AND attacl IS NOT NULL
) x, LATERAL aclexplode(x.acl) g
"""


@contextmanager
def views_set_aside(transaction: TargetTransaction, table: str) -> Iterator[None]:
    """Drops all views over `table` (an SQL expression of its oid), however indirect, and makes them again after.

    Raises:
        TargetRejected: a materialized view stands there, whose rows would be computed again; its owner decides.
    """
    views = transaction.rows(_DEPENDENT.format(table=table))
    grants = {view["name"]: transaction.rows(_GRANTS.format(oid=view["oid"])) for view in views}
    for view in views:
        if view["kind"] != "v":
            raise TargetRejected(
                "a materialized view or rule stands on a column that has to become wider",
                name=view["name"],
                remedy="Drop it, publish, and create it again.",
            )
    for view in reversed(views):
        transaction.execute(f"DROP VIEW {view['name']}")
    yield
    for view in views:
        _make(transaction, view, grants[view["name"]])


def _make(transaction: TargetTransaction, view: dict[str, Any], grants: list[dict[str, Any]]) -> None:
    name = view["name"]
    options = f" WITH ({view['options']})" if view["options"] else ""
    transaction.execute(f"CREATE VIEW {name}{options} AS {view['body']}")
    transaction.execute(f"ALTER VIEW {name} OWNER TO {quoted(view['owner'])}")
    if view["comment"] is not None:
        transaction.execute(f"COMMENT ON VIEW {name} IS {literal(view['comment'])}")
    for grant in grants:
        column = f" ({grant['on_column']})" if grant["on_column"] else ""
        option = " WITH GRANT OPTION" if grant["grantable"] else ""
        transaction.execute(f"GRANT {grant['privilege']}{column} ON {name} TO {grant['grantee']}{option}")
