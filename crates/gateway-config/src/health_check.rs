//! `[models.health_check]`: asking an open deployment whether it is well again.

use crate::fields::Fields;
use crate::names::shown;

/// Keys of `[models.health_check]`.
pub(crate) const KEYS: &[&str] = &["interval_s", "path"];

const INTERVAL_MAX_S: u64 = 3_600;
const PATH_MAX_BYTES: usize = 256;

/// How a deployment whose breaker is open is asked whether it is well again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// Seconds between two checks of one deployment by one instance; 0 to 3,600, default 0 = never.
    pub interval_s: u32,
    /// Asked with GET after the backend's `base_url`; 2xx closes the breaker. Default `/models`.
    pub path: String,
}

impl Default for HealthCheck {
    fn default() -> Self {
        HealthCheck { interval_s: 0, path: "/models".to_owned() }
    }
}

/// Reads `health_check`; `base` is what applies where nothing is written.
pub(crate) fn read(fields: &Fields<'_, '_>, base: &HealthCheck) -> HealthCheck {
    let Some(table) = fields.table("health_check", KEYS) else { return base.clone() };
    let interval_s = table.integer("interval_s", 0..=INTERVAL_MAX_S).and_then(|n| u32::try_from(n).ok());
    HealthCheck {
        interval_s: interval_s.unwrap_or(base.interval_s),
        path: table.text("path").map_or_else(
            || base.path.clone(),
            |path| {
                if !is_path(path) {
                    let rule = format!("must begin with / and be at most {PATH_MAX_BYTES} visible ASCII characters, no # or ?");
                    table.refuse("path", format!("is {}, {rule}", shown(path)));
                }
                path.to_owned()
            },
        ),
    }
}

fn is_path(text: &str) -> bool {
    text.starts_with('/')
        && text.len() <= PATH_MAX_BYTES
        && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'#' | b'?'))
}
