"""Commands of ``voice-provider``, one file each: ``add`` describes it, and ``run`` is called with its options."""
