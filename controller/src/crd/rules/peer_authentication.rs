//! PeerAuthentication.

use serde_json::json;

use super::{Fields, PathError};

pub(in super::super) fn apply(fields: &mut Fields) -> Result<(), PathError> {
    super::selector(fields, "selector")?;
    fields.at("portLevelMtls", &json!({"maxProperties": 64}))?;
    fields.rule(
        "portLevelMtls",
        "self.all(port, port.matches('^[1-9][0-9]{0,4}$') && int(port) <= 65535)",
        "write ports from 1 to 65535 as keys, such as 9100: {mode: PERMISSIVE}",
    )?;
    fields.rule(
        "",
        "!has(self.portLevelMtls) || self.portLevelMtls.size() == 0 \
         || (has(self.selector) && self.selector.matchLabels.size() > 0)",
        "write a selector with matchLabels beside portLevelMtls: ports are those of certain workloads",
    )
}
