package api

// Routes is the table of all calls: what a call is for, who may make it, which node
// serves it, and its documents. Each handler has its part of it.
func Routes() []Route { return routes(&Config{}) }

func routes(cfg *Config) (all []Route) {
	remote := &remoteCacheHandler{entries: cfg.RemoteCache, maxEntry: cfg.MaxEntry}
	for _, h := range [...]interface{ routes() []Route }{
		&clusterHandler{cluster: cfg.Cluster},
		&executionsHandler{executions: cfg.Executions},
		&workersHandler{workers: cfg.Workers},
		&runsHandler{runs: cfg.Runs},
		&approvalsHandler{runs: cfg.Runs},
		&streamHandler{feeds: cfg.Feeds, runs: cfg.Runs, keepAlive: cfg.KeepAlive},
		&logsHandler{logs: cfg.Logs, keepAlive: cfg.KeepAlive, indexes: &lineIndexes{}},
		&sessionsHandler{sessions: cfg.Sessions},
		&artifactsHandler{artifacts: cfg.Artifacts},
		&historiesHandler{histories: cfg.Histories, runs: cfg.Runs},
		&schedulesHandler{schedules: cfg.Schedules},
		&blobsHandler{blobs: cfg.Blobs, maxBlob: cfg.MaxBlob, maxBundle: cfg.MaxBundle},
		&cacheHandler{cache: cfg.Cache},
		remote,
		&turboHandler{remote: remote},
		&snapshotsHandler{snapshots: cfg.Snapshots},
		&signInHandler{signIns: cfg.SignIns, cluster: cfg.Cluster, cfg: cfg},
		&tokensHandler{tokens: cfg.Tokens},
		&secretsHandler{secrets: cfg.Secrets},
		&webhooksHandler{webhooks: cfg.Webhooks},
		&metricsHandler{page: cfg.MetricsPage, open: cfg.MetricsOpen},
		&badgesHandler{histories: cfg.Histories, open: cfg.PublicBadges},
	} {
		all = append(all, h.routes()...)
	}
	return all
}
