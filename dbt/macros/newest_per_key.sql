{#- One row of each key, the newest: for tables that are only appended to. It needs every row of a key before it gives one, so
    a filter on another column is applied after the whole table was read; tables with a key need no such step, because
    the lake holds each key once. -#}
{% macro newest_per_key(key, newest) -%}
qualify row_number() over (partition by {{ key | join(', ') }} order by {{ newest }} desc) = 1
{%- endmacro %}
