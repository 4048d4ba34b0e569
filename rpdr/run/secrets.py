"""No secret in a config: it would stand in the run's files, and in a cluster's record of the job."""

from __future__ import annotations

from rpdr.config import Config
from rpdr.errors import RpdrError
from rpdr.remote import refuse_more_than_an_address, refuse_secret
from rpdr.run.sources import places_of


def refuse_secrets(config: Config, kind: type[RpdrError]) -> None:
    """Raises an error of this kind where a URL that the config names has a secret in it."""
    refuse_more_than_an_address(config.teacher.base_url, kind, "teacher.base_url", config.teacher.where_the_key_goes)
    refuse_more_than_an_address(config.report.grafana_url or "", kind, "report.grafana_url")
    places = [(f"{setting}: ", place) for setting, source in config.sources for place in places_of(source)]
    for setting, where in [*places, ("link.output: ", config.link.output or "")]:
        refuse_secret(where, kind, setting)
