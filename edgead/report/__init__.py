"""The report: one HTML file that holds its pictures, curves and tables and loads nothing from elsewhere."""

from __future__ import annotations

from edgead.report.data import NOT_MEASURED, Latency, ReportData, latency_from_samples
from edgead.report.page import write_report

__all__ = ["NOT_MEASURED", "Latency", "ReportData", "latency_from_samples", "write_report"]
