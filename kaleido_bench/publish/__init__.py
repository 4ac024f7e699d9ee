"""Results in, tables out. Everything here is pure: it reads no disk and asks no clock."""
