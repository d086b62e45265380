//! Whole-path measurements of the gateway against the mock provider.
