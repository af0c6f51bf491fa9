//! Components' accounts of themselves.

use culvert_proto::node::node_service_server::NodeService;
use culvert_proto::node::{Report, ReportReply};
use tonic::{Request, Response, Status, Streaming};

use super::Context;
use crate::engine::{Client, Component, Event};

/// The node service.
#[derive(Debug)]
pub(super) struct Service(Context);

impl Service {
    pub(super) fn new(context: Context) -> Self {
        Self(context)
    }
}

#[tonic::async_trait]
impl NodeService for Service {
    async fn report(
        &self,
        request: Request<Streaming<Report>>,
    ) -> Result<Response<ReportReply>, Status> {
        let client = self
            .0
            .authenticator
            .client(request.metadata(), "node")
            .await?;
        let mut reports = request.into_inner();
        let gone = |_| Status::unavailable("the controller is ending");
        let mut component: Option<Component> = None;
        let ended = loop {
            let report = tokio::select! {
                report = reports.message() => report,
                () = self.0.drain.signaled() => break Ok(()),
            };
            match report {
                Ok(Some(report)) => {
                    let known = component.is_some();
                    let component =
                        *component.get_or_insert(Component::of(&client, &report.component));
                    if !known {
                        let event = Event::ReportOpened(client.clone(), component);
                        self.0.events.send(event).await.map_err(gone)?;
                    }
                    if let (Some(captures), Client::Node(node), Component::Agent) =
                        (&self.0.captures, &client, component)
                    {
                        captures.said((node, &report.pods));
                    }
                    if let (Some(captures), Client::Node(node), Component::Ztunnel) =
                        (&self.0.captures, &client, component)
                    {
                        captures.denied((node, &report.denials));
                    }
                    let event = Event::Report(client.clone(), component, Box::new(report));
                    self.0.events.send(event).await.map_err(gone)?;
                }
                Ok(None) => break Ok(()),
                Err(status) => break Err(status),
            }
        };
        if let Some(component) = component {
            let event = Event::ReportClosed(client, component);
            self.0.events.send(event).await.map_err(gone)?;
        }
        ended.map(|()| Response::new(ReportReply {}))
    }
}
