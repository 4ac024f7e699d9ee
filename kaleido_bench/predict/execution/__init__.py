"""How work items are computed: in this process, or handed out to several. No collectives: items share nothing."""
