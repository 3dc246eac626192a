package client

// Each group holds the calls of one resource. Groups are values: they are as
// cheap as the Client that they come from, and as safe for concurrent use.
type (
	// Runs are the calls about whole runs.
	Runs struct{ calls *caller }
	// Modules are the calls about one module of a run.
	Modules struct{ calls *caller }
	// Artifacts are the calls about the output files of runs.
	Artifacts struct{ calls *caller }
	// Blobs are the calls about content-addressed bytes.
	Blobs struct{ calls *caller }
	// Schedules are the calls about pipelines that are registered for their
	// schedules.
	Schedules struct{ calls *caller }
	// Histories are the calls about what earlier runs show.
	Histories struct{ calls *caller }
	// Secrets are the calls about the secrets of modules.
	Secrets struct{ calls *caller }
	// Webhooks are the calls about receivers of events.
	Webhooks struct{ calls *caller }
	// Tokens are the calls about tokens of people and programs.
	Tokens struct{ calls *caller }
	// Cache are the calls about cached results and entries of remote caches.
	Cache struct{ calls *caller }
	// Executions are the calls of the execution protocol.
	Executions struct{ calls *caller }
	// Workers are the calls about workers, external ones included.
	Workers struct{ calls *caller }
	// Cluster are the calls about the nodes and what they hold together.
	Cluster struct{ calls *caller }
	// Events are the calls about what happened.
	Events struct{ calls *caller }
)

// Each of these gives the calls of one resource.

func (c *Client) Runs() Runs             { return Runs{c.calls} }
func (c *Client) Modules() Modules       { return Modules{c.calls} }
func (c *Client) Artifacts() Artifacts   { return Artifacts{c.calls} }
func (c *Client) Blobs() Blobs           { return Blobs{c.calls} }
func (c *Client) Schedules() Schedules   { return Schedules{c.calls} }
func (c *Client) Histories() Histories   { return Histories{c.calls} }
func (c *Client) Secrets() Secrets       { return Secrets{c.calls} }
func (c *Client) Webhooks() Webhooks     { return Webhooks{c.calls} }
func (c *Client) Tokens() Tokens         { return Tokens{c.calls} }
func (c *Client) Cache() Cache           { return Cache{c.calls} }
func (c *Client) Executions() Executions { return Executions{c.calls} }
func (c *Client) Workers() Workers       { return Workers{c.calls} }
func (c *Client) Cluster() Cluster       { return Cluster{c.calls} }
func (c *Client) Events() Events         { return Events{c.calls} }
