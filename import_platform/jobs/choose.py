"""The first op of a job that works on some tables of a source."""

# No postponed annotations: Dagster reads those of the decorated function below at run time.

from collections.abc import Mapping

import dagster as dg

from import_platform.errors import ConfigError


def choose_op(name: str, names: Mapping[str, str]) -> dg.OpDefinition:
    """`names` maps tables to the outputs of the op, which lets through those that its config names, or all."""

    @dg.op(
        name=name,
        config_schema={"tables": [str]},
        out={output: dg.Out(dg.Nothing, is_required=False) for output in names.values()},
    )
    def choose(context: dg.OpExecutionContext):  # type: ignore[no-untyped-def]  # noqa: ANN202  Dagster refuses one type for many outputs
        wanted = context.op_config["tables"]
        unknown = sorted(set(wanted) - set(names))
        if unknown:
            error = ConfigError(
                "the source has no such tables", tables=unknown, remedy=f"Declared: {', '.join(sorted(names))[:400]}."
            )
            raise dg.Failure(description=str(error), allow_retries=False)
        for table, output in names.items():
            if not wanted or table in wanted:
                yield dg.Output(None, output_name=output)

    return choose
