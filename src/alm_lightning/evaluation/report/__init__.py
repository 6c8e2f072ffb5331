"""One self-contained HTML page about a run and its evaluations: `page.write_report`."""
