"""What a test or a demo may turn: the house's own knobs, and how they are kept together with those of the halves."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MIB = 1024**2
GIB = 1024**3


class Section(BaseModel):
    """Knobs that belong together; an optional limit set to null is off, a rate set to 0 is off."""

    model_config = ConfigDict(extra="forbid", frozen=True)


S = TypeVar("S", bound=Section)


class House(Section):
    """The world's own knobs."""

    # Time: minimum seconds by the emulator's clock; 0 is "as long as the engine needs"
    queue_seconds: float = Field(default=0.0, ge=0)
    job_seconds: float = Field(default=0.0, ge=0)

    # Storage
    upload_url_seconds: int = Field(default=3600, ge=1)
    result_url_seconds: int = Field(default=3600, ge=1)
    speech_urls: Literal["stable", "signed"] = "stable"

    workers: int = Field(default=2, ge=1, le=64)
    pages: bool = True


class Settings:
    """All sections as one: to those who turn knobs, their names are one flat list. Replaced, never changed."""

    def __init__(self, *sections: Section) -> None:
        self._sections = {type(section): section for section in sections}
        names = Counter(name for section in sections for name in type(section).model_fields)
        if twice := sorted(name for name, count in names.items() if count > 1):
            raise ValueError(f"Two sections have a setting of this name: {', '.join(twice)}.")

    def of(self, kind: type[S]) -> S:
        """Return the section of this kind."""
        section = self._sections[kind]
        assert isinstance(section, kind)  # noqa: S101 - that is its key
        return section

    def values(self) -> dict[str, Any]:
        return {name: value for section in self._sections.values() for name, value in section.model_dump().items()}

    def changed(self, changes: dict[str, Any]) -> Settings:
        """Return these settings with some replaced; `ValueError` names what is wrong and what there is."""
        values = self.values()
        unknown = sorted(set(changes) - set(values))
        if unknown:
            known = ", ".join(sorted(values))
            raise ValueError(f"Unknown setting: {', '.join(unknown)}. Known settings: {known}.")
        values |= changes
        sections: list[Section] = []
        wrong: list[str] = []
        for kind in self._sections:
            try:
                sections.append(kind.model_validate({name: values[name] for name in kind.model_fields}))
            except ValidationError as error:
                wrong += [f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()]
        if wrong:
            raise ValueError(f"Setting not accepted: {'; '.join(wrong)}.")
        return Settings(*sections)
