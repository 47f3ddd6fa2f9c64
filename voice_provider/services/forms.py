"""The services of this package, a line each; other packages bring theirs as Airflow providers of their own."""

from __future__ import annotations

from voice_provider.services.fish_audio.form import FORM as FISH_AUDIO
from voice_provider.services.sync_labs.form import FORM as SYNC_LABS

FORMS = (SYNC_LABS, FISH_AUDIO)
