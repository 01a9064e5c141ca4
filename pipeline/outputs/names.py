"""The names of the outputs, in their folder or below their prefix."""

COMBINED = "combined_data.csv"
SPENDING = "age_group_spending.csv"
CHART = "total_spending_by_age_group.png"
REJECTED = "rejected_rows.csv"
REPORT = "run_report.json"

# In commit order. The report comes last: it marks a complete run.
OUTPUTS = (COMBINED, SPENDING, CHART, REJECTED, REPORT)
FAILED = "failed_run.json"  # next to the outputs, until a run succeeds
