//! TrafficPolicy: what it says of single endpoints.

use serde_json::json;

use super::{Fields, PathError, positive};

const TOKEN: &str = "self.matches(\"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$\")";

pub(super) fn apply(fields: &mut Fields) -> Result<(), PathError> {
    fields.rule(
        "",
        "(!has(self.outlierDetection) && !(has(self.loadBalancer) && (has(self.loadBalancer.warmup) \
         || has(self.loadBalancer.locality)))) \
         || self.targetRefs.exists(target, target.kind in ['Service', 'ServiceEntry'])",
        "name a Service in targetRefs: outlierDetection, warmup and locality hold for Services",
    )?;
    load_balancer(fields)?;
    let at = |field: &str| format!("outlierDetection.{field}");
    positive(fields, &at("interval"))?;
    positive(fields, &at("baseEjectionTime"))?;
    for percent in ["maxEjectionPercent", "minHealthPercent"] {
        fields.at(&at(percent), &json!({"maximum": 100}))?;
    }
    range(fields, &at("successRate.stdevFactor"), 0.0, 100.0)?;
    range(fields, &at("latency.factor"), 1.01, 1000.0)
}

fn load_balancer(fields: &mut Fields) -> Result<(), PathError> {
    fields.rule(
        "loadBalancer",
        "!(has(self.simple) && has(self.consistentHash)) \
         && (has(self.simple) || has(self.consistentHash) || has(self.warmup) || has(self.locality))",
        "write at least one of simple, consistentHash, warmup and locality, and not both of the first two",
    )?;
    locality(fields)?;
    let at = |field: &str| format!("loadBalancer.consistentHash{field}");
    fields.rule(
        &at(""),
        "[has(self.httpHeaderName), has(self.httpCookie), has(self.useSourceIp) && self.useSourceIp, \
         has(self.httpQueryParameterName)].filter(given, given).size() == 1",
        "write one of httpHeaderName, httpCookie, useSourceIp: true and httpQueryParameterName",
    )?;
    for (name, message) in [
        (
            ".httpHeaderName",
            "write the name of a header, such as x-user",
        ),
        (
            ".httpCookie.name",
            "write the name of a cookie, such as user",
        ),
    ] {
        fields.at(&at(name), &json!({"minLength": 1, "maxLength": 256}))?;
        fields.rule(&at(name), TOKEN, message)?;
    }
    let query = json!({"minLength": 1, "maxLength": 256});
    fields.at(&at(".httpQueryParameterName"), &query)?;
    fields.at(&at(".httpCookie.path"), &json!({"maxLength": 1024}))?;
    fields.rule(
        &at(".httpCookie.path"),
        "self.matches('^/[ -:<-~]*$')",
        "write a path such as /, without a semicolon",
    )?;
    range(fields, &at(".balanceFactor"), 1.0, 100.0)?;
    positive(fields, "loadBalancer.warmup.duration")?;
    let percent = json!({"minimum": 1, "maximum": 100});
    fields.at("loadBalancer.warmup.minimumPercent", &percent)?;
    range(fields, "loadBalancer.warmup.aggression", 0.1, 100.0)
}

fn locality(fields: &mut Fields) -> Result<(), PathError> {
    let at = |field: &str| format!("loadBalancer.locality{field}");
    fields.rule(
        &at(""),
        "!has(self.mode) || self.mode == 'Failover' || !has(self.failover) || self.failover.size() == 0",
        "leave out failover: it is for mode Failover",
    )?;
    fields.rule(
        &at(""),
        "!has(self.mode) || self.mode != 'Disabled' || !has(self.failoverPriority)",
        "leave out failoverPriority: with mode Disabled it says nothing",
    )?;
    fields.rule(
        &at(""),
        "!has(self.failover) || self.failover.size() == 0 || !has(self.failoverPriority) \
         || self.failoverPriority.size() == 0 || self.failoverPriority[0] == 'Region'",
        "begin failoverPriority with Region: failover is between regions",
    )?;
    let levels = json!({"maxItems": 4});
    fields.at(&at(".failoverPriority"), &levels)?;
    fields.rule(
        &at(".failoverPriority"),
        "self.join(' ') in ['Region', 'Zone', 'Subzone', 'Node', 'Region Zone', 'Region Subzone', 'Region Node', \
         'Zone Subzone', 'Zone Node', 'Subzone Node', 'Region Zone Subzone', 'Region Zone Node', \
         'Region Subzone Node', 'Zone Subzone Node', 'Region Zone Subzone Node']",
        "write some of Region, Zone, Subzone and Node, each once and in this order",
    )?;
    fields.at(&at(".failover"), &json!({"maxItems": 64}))?;
    for region in [".failover[].from", ".failover[].to"] {
        fields.at(&at(region), &json!({"minLength": 1, "maxLength": 63}))?;
    }
    fields.rule(
        &at(".failover[]"),
        "self.from != self.to",
        "write another region than from",
    )
}

fn range(fields: &mut Fields, path: &str, least: f64, most: f64) -> Result<(), PathError> {
    fields.at(path, &json!({"minimum": least, "maximum": most}))
}
