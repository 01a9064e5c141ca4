"""The job in DataFusion's SQL: tables over the files, a view, COPY for both outputs.

Customers are on the left of the joins: DataFusion builds its hash table from that side. Leaves out:
the chart, the checks, bad records (they raise), line breaks within fields, input order, and
all-or-nothing outputs.
"""

import sys

from datafusion import RuntimeEnvBuilder, SessionContext

source, target, *memory = sys.argv[1:]
runtime = RuntimeEnvBuilder()
if memory:
    runtime = runtime.with_fair_spill_pool(int(memory[0]))
context = SessionContext(runtime=runtime)
for name in ("customers", "purchases"):
    # Without records to infer types from, all columns are text.
    context.register_csv(name, f"{source}/{name}.csv", schema_infer_max_records=0)
context.sql("""
    CREATE VIEW grouped AS
    SELECT *,
        concat_ws(' ', first_name, last_name) AS full_name,
        CASE
            WHEN try_cast(age AS DOUBLE) >= 45 THEN 'Senior'
            WHEN try_cast(age AS DOUBLE) >= 30 THEN 'Middle-aged'
            WHEN try_cast(age AS DOUBLE) >= 18 THEN 'Young'
            WHEN try_cast(age AS DOUBLE) >= 0 THEN 'Under 18'
            ELSE 'Unknown'
        END AS age_group
    FROM customers
""")
context.sql(f"""
    COPY (
        SELECT coalesce(c.customer_id, p.customer_id) AS customer_id,
            c.* EXCLUDE (customer_id), p.* EXCLUDE (customer_id)
        FROM grouped c FULL JOIN purchases p ON p.customer_id = c.customer_id
    ) TO '{target}/combined_data.csv' OPTIONS ('format.has_header' true)
""").collect()
context.sql(f"""
    COPY (
        SELECT c.age_group, sum(try_cast(p.price AS DECIMAL(18, 2))) AS total_spending
        FROM grouped c RIGHT JOIN purchases p ON p.customer_id = c.customer_id
        GROUP BY c.age_group
    ) TO '{target}/age_group_spending.csv' OPTIONS ('format.has_header' true)
""").collect()
