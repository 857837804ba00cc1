"""What builds an index: one model for each framework, made from what its adapter says of its settings.

An adapter is a module of `indexscope.frameworks`; one that is added there can be named in a configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from pydantic import Field, TypeAdapter, create_model

from .adapters import adapters
from .base import Model, Name


class System(Model):
    """A framework, its environment and its settings."""

    framework: str
    environment: Name = Field(description="name of a locked environment, envs/NAME.yaml")
    label: str = Field(description="name in figures and tables that people read")
    split_to: int | None = Field(
        None,
        gt=4,
        description="tokens: documents are split beforehand, as RAGatouille splits them; empty: whole documents",
    )
    allocation_limit_mib: int | None = Field(
        None,
        gt=0,
        description="allocations of this system fail above this (RLIMIT_DATA); empty: as measurement says",
    )
    settings: Model


def _model_of(framework: str, adapter: Any) -> type[System]:
    title = framework.title().replace("_", "")
    fields: dict[str, Any] = {
        name: (
            setting.type,
            Field(setting.default, description=setting.description, **(setting.bounds or {})),
        )
        for name, setting in adapter.SETTINGS.items()
    }
    settings = create_model(
        f"{title}Settings", __base__=Model, __doc__=adapter.SETTINGS_MEANING, __module__=__name__, **fields
    )
    inherited = {
        name: (field.annotation, field)
        for name, field in System.model_fields.items()
        if name not in ("framework", "settings")
    }
    ordered: dict[str, Any] = {
        "framework": (Literal[framework], Field()),
        **inherited,
        "settings": (settings, settings()),
    }
    return create_model(
        f"{title}System", __base__=System, __doc__=(adapter.__doc__ or "").splitlines()[0], **ordered
    )


ADAPTERS = adapters()
SYSTEMS = {framework: _model_of(framework, adapter) for framework, adapter in ADAPTERS.items()}
if TYPE_CHECKING:
    AnySystem = System
else:
    AnySystem = Annotated[Union[tuple(SYSTEMS.values())], Field(discriminator="framework")]  # noqa: UP007


def system(values: Mapping[str, Any]) -> System:
    """The system that `values` describe.

    Raises:
        pydantic.ValidationError: a value is wrong.
    """
    validated: System = TypeAdapter(AnySystem).validate_python(values)
    return validated
