"""The HTML pages: the first page, the tables of workflows, and the history of one workflow.

They are rendered on the server from `exporter/interfaces/views.py`, so they are complete without a
script and in a text browser. A small script fetches the parts that change, as HTML.

    routes = html_routes(HtmlParts(views, links))
"""

from exporter.web.html.rendering import PageLink
from exporter.web.html.routes import HtmlParts, html_routes

__all__ = ["HtmlParts", "PageLink", "html_routes"]
