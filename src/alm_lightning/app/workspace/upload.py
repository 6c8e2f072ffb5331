"""A view, made with W&B's package `wandb-workspaces`."""

from typing import TYPE_CHECKING

from alm_lightning.app.workspace.panels import CRITERION, STEP, Panel, View

if TYPE_CHECKING:
    import wandb_workspaces.reports.v2 as reports
    import wandb_workspaces.workspaces as workspaces

COLUMNS = (f"summary:{CRITERION}", "config:seed.value")
"""What the list of runs shows beside their names."""
ABOUT = (
    "Runs of ALM Lightning. Bits per byte are of held-out text, student and teacher, and can be "
    "compared between tokenizers; losses can be compared between runs of one objective alone."
)
PANEL_WIDTH, PANEL_HEIGHT, PANELS_IN_A_ROW = 8, 6, 3
"""Of a report, whose grid has 24 columns."""


def workspace_of(view: View, entity: str) -> "workspaces.Workspace":
    """The workspace of a view, which is not saved yet.

    Args:
        view: The view.
        entity: User or team.

    Returns:
        W&B's object.
    """
    # of the extra `sweeps`: nothing else needs it
    import wandb_workspaces.expr as expr
    import wandb_workspaces.workspaces as workspaces

    filters = "" if view.group is None else expr.And(expr.Metric("Group") == view.group)
    return workspaces.Workspace(
        entity=entity,
        project=view.project,
        name=view.name,
        sections=[
            workspaces.Section(
                name=section.name,
                panels=[_made(panel) for panel in section.panels],
                is_open=True,
            )
            for section in view.sections
        ],
        settings=workspaces.WorkspaceSettings(x_axis=STEP),
        runset_settings=workspaces.RunsetSettings(
            filters=filters,
            order=[expr.Ordering(expr.Summary(CRITERION), ascending=True)],
            pinned_columns=list(COLUMNS),
        ),
    )


def report_of(view: View, entity: str) -> "reports.Report":
    """The report of a view, which is not saved yet.

    Args:
        view: The view.
        entity: User or team.

    Returns:
        W&B's object.
    """
    import wandb_workspaces.expr as expr
    import wandb_workspaces.reports.v2 as reports

    filters = "" if view.group is None else expr.And(expr.Metric("Group") == view.group)
    blocks: list = [reports.P(ABOUT), reports.TableOfContents()]
    for section in view.sections:
        runs = reports.Runset(
            entity=entity,
            project=view.project,
            name=view.group or "all runs",
            filters=filters,
            order=[reports.OrderBy(reports.SummaryMetric(CRITERION), ascending=True)],
        )
        panels = [_made(panel) for panel in section.panels]
        for place, panel in enumerate(panels):
            row, column = divmod(place, PANELS_IN_A_ROW)
            panel.layout = reports.Layout(
                x=column * PANEL_WIDTH, y=row * PANEL_HEIGHT, w=PANEL_WIDTH, h=PANEL_HEIGHT
            )
        blocks += [reports.H1(section.name), reports.PanelGrid(runsets=[runs], panels=panels)]
    return reports.Report(
        project=view.project,
        entity=entity,
        title=view.name,
        description=ABOUT,
        blocks=blocks,
        width="fluid",
    )


def _made(panel: Panel) -> "reports.interface.Panel":
    import wandb_workspaces.reports.v2 as reports

    if panel.kind == "table":
        return reports.WeavePanelSummaryTable(table_name=panel.metrics[0])
    if panel.kind == "importance":
        return reports.ParameterImportancePlot(with_respect_to=panel.metrics[0])
    if panel.kind == "coordinates":
        metrics = [*map(reports.Config, panel.settings), *map(reports.SummaryMetric, panel.metrics)]
        columns = [reports.ParallelCoordinatesPlotColumn(metric=metric) for metric in metrics]
        return reports.ParallelCoordinatesPlot(title=panel.title, columns=columns)
    return reports.LinePlot(
        title=panel.title, x=STEP, y=list(panel.metrics), metric_regex=panel.regex
    )
