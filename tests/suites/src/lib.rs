//! Nothing but a home: the suites stand in `tests/`, one file a subject.
