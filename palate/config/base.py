"""The frozen, closed base of every configuration section."""

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """A frozen section of the schema; the string under each field is its help text everywhere."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True
    )
