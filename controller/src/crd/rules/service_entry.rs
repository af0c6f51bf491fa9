//! ServiceEntry.

use serde_json::json;

use super::{Fields, LABEL, PathError, subdomain};

pub(in super::super) fn apply(fields: &mut Fields) -> Result<(), PathError> {
    fields.texts("hosts", 64, 253)?;
    fields.rule("hosts", "self.size() > 0", "name at least one host")?;
    fields.rule(
        "hosts[]",
        &format!("self.contains('.') && self.matches('^{}$') && !isIP(self)", subdomain()),
        "write a name of DNS in full such as api.example.com: lower-case letters, digits, '-' and '.', no '*'",
    )?;
    fields.texts("addresses", 16, 43)?;
    fields.rule(
        "addresses[]",
        "isIP(self)",
        "write one address such as 192.0.2.1; ranges are not supported",
    )?;
    ports(fields)?;
    fields.rule(
        "location",
        "self == 'MESH_EXTERNAL'",
        "write MESH_EXTERNAL: nobody outside of Kubernetes has an identity of the mesh",
    )?;
    fields.rule(
        "resolution",
        "self != 'NONE'",
        "write STATIC with the addresses as endpoints: NONE is not supported",
    )?;
    endpoints(fields)?;
    fields.texts("exportTo", 1, 1)?;
    fields.rule(
        "exportTo[]",
        "self in ['.', '*']",
        "write '.' for the entry's own namespace or '*' for all",
    )?;
    whole(fields)
}

fn ports(fields: &mut Fields) -> Result<(), PathError> {
    fields.at("ports", &json!({"maxItems": 64}))?;
    fields.rule("ports", "self.size() > 0", "name at least one port")?;
    fields.at("ports[].name", &json!({"minLength": 1, "maxLength": 63}))?;
    fields.rule(
        "ports[].name",
        &format!("self.matches('^{LABEL}$')"),
        "write the name of a port: lower-case letters, digits and '-'",
    )?;
    let protocols = [
        "HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTPS", "TLS", "TCP", "MONGO",
    ];
    fields.at("ports[].protocol", &json!({"maxLength": 16}))?;
    fields.rule(
        "ports[].protocol",
        &format!("self.upperAscii() in {protocols:?}").replace('"', "'"),
        &format!("write one of {}", protocols.join(", ")),
    )?;
    fields.at("ports[].appProtocol", &json!({"maxLength": 253}))?;
    fields.rule(
        "ports",
        "self.all(p, self.exists_one(q, q.name == p.name))",
        "write each name of a port once",
    )
}

fn endpoints(fields: &mut Fields) -> Result<(), PathError> {
    fields.at("endpoints", &json!({"maxItems": 64}))?;
    fields.at(
        "endpoints[].address",
        &json!({"minLength": 1, "maxLength": 253}),
    )?;
    fields.rule(
        "endpoints[].address",
        &format!("isIP(self) || self.matches('^{}$')", subdomain()),
        "write an address, or with DNS a name such as api.example.com",
    )?;
    fields.at("endpoints[].ports", &json!({"maxProperties": 64}))?;
    fields.at("endpoints[].locality", &json!({"maxLength": 256}))?;
    fields.rule(
        "endpoints[].locality",
        "self.matches('^[^/]+(/[^/]+){0,2}$')",
        "write REGION, REGION/ZONE or REGION/ZONE/SUBZONE",
    )?;
    fields.at("endpoints[].weight", &json!({"maximum": 1_000_000}))
}

/// What goes together.
fn whole(fields: &mut Fields) -> Result<(), PathError> {
    let some = "(has(self.endpoints) && self.endpoints.size() > 0)";
    fields.rule(
        "",
        &format!("self.resolution != 'STATIC' || {some}"),
        "write at least one endpoint: with STATIC they are all there is",
    )?;
    fields.rule(
        "",
        "self.resolution != 'STATIC' || !has(self.endpoints) || self.endpoints.all(e, isIP(e.address))",
        "write addresses as endpoints of STATIC; names are those of DNS",
    )?;
    fields.rule(
        "",
        &format!(
            "self.resolution != 'DNS' || {some} || !has(self.addresses) || self.addresses.size() == 0 || self.hosts.size() == 1"
        ),
        "write an entry for each host: which of them a client means cannot be told from addresses",
    )
}
