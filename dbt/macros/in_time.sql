{#- Rows whose time lies in [first, before), read from the leaves that can hold them: the names of a time partition's leaves are
    the beginnings of their times in UTC, so a range of names stands beside the range of times. Without it every file is
    opened, because DuckDB's delta extension skips files by names of partitions and by numbers, not by times.
    `first` and `before` are texts as '2013-06-01' or '2013-06-01T05:00:00' in UTC; `granularity` is the table's own. -#}
{% macro in_time(column, first, before, granularity='month', partition='lake_partition') -%}
{%- set length = {'year': 4, 'month': 7, 'day': 10, 'hour': 13}[granularity] -%}
{%- if (first | length) < length or (before | length) < length -%}
{{ exceptions.raise_compiler_error("in_time: '" ~ first ~ "' and '" ~ before ~ "' must be written down to the " ~ granularity) }}
{%- endif -%}
({{ column }} >= timestamptz '{{ first }}' and {{ column }} < timestamptz '{{ before }}'
    and {{ partition }} >= '{{ first[:length] }}' and {{ partition }} <= '{{ before[:length] }}~')
{%- endmacro %}
