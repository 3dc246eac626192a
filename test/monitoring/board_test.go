package monitoring

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

// The parts of Grafana's dashboard document that the board uses.
type (
	board struct {
		Title      string   `json:"title"`
		UID        string   `json:"uid"`
		Tags       []string `json:"tags"`
		Schema     int      `json:"schemaVersion"`
		Refresh    string   `json:"refresh"`
		Time       span     `json:"time"`
		Timezone   string   `json:"timezone"`
		Editable   bool     `json:"editable"`
		Templating vars     `json:"templating"`
		Panels     []panel  `json:"panels"`
	}
	span struct {
		From string `json:"from"`
		To   string `json:"to"`
	}
	vars struct {
		List []variable `json:"list"`
	}
	variable struct {
		Name    string  `json:"name"`
		Label   string  `json:"label"`
		Type    string  `json:"type"`
		Query   string  `json:"query"`
		Source  *source `json:"datasource,omitempty"`
		Refresh int     `json:"refresh,omitempty"`
		Multi   bool    `json:"multi,omitempty"`
		All     bool    `json:"includeAll,omitempty"`
		AllText string  `json:"allValue,omitempty"`
	}
	source struct {
		Type string `json:"type"`
		UID  string `json:"uid"`
	}
	panel struct {
		ID          int      `json:"id"`
		Type        string   `json:"type"`
		Title       string   `json:"title"`
		Description string   `json:"description,omitempty"`
		Grid        grid     `json:"gridPos"`
		Source      *source  `json:"datasource,omitempty"`
		Targets     []target `json:"targets,omitempty"`
		Field       *field   `json:"fieldConfig,omitempty"`
	}
	grid struct {
		H int `json:"h"`
		W int `json:"w"`
		X int `json:"x"`
		Y int `json:"y"`
	}
	target struct {
		Ref    string `json:"refId"`
		Expr   string `json:"expr"`
		Legend string `json:"legendFormat,omitempty"`
	}
	field struct {
		Defaults  defaults `json:"defaults"`
		Overrides []string `json:"overrides"`
	}
	defaults struct {
		Unit string `json:"unit,omitempty"`
		Min  *int   `json:"min,omitempty"`
	}
)

// view is a panel as the table below has it: a title, a unit, what it says, and
// queries with their legends in turn.
type view struct {
	title, unit, says string
	queries           []string
}

// quantile is a query for a quantile of a histogram by some labels.
func quantile(q string, name, by string) string {
	labels := "le"
	if by != "" {
		labels += ", " + by
	}
	return fmt.Sprintf("histogram_quantile(%s, sum by (%s) (rate(%s_bucket[$__rate_interval])))", q, labels, name)
}

// rows are the board, by row.
var rows = []struct {
	title string
	views []view
}{
	{"Cluster", []view{
		{"Leaders", "", "1; 0 means that nothing new is accepted", []string{"sum(pipelined_raft_is_leader)", ""}},
		{"Nodes", "", "by status, as the leader sees them", []string{"max by (status) (pipelined_members)", "{{status}}"}},
		{"Workers", "", "busy workers have no free slot", []string{"max by (cicd_worker_state) (cicd_worker_count)", "{{cicd_worker_state}}"}},
		{"Runs", "", "runs that have not ended", []string{`sum by (cicd_pipeline_run_state) (max by (cicd_pipeline_name, cicd_pipeline_run_state) (cicd_pipeline_run_active{cicd_pipeline_name=~"$pipeline"}))`, "{{cicd_pipeline_run_state}}"}},
	}},
	{"Pipelines", []view{
		{"Runs that ended", "ops", "a second, by result", []string{`sum by (cicd_pipeline_result) (rate(cicd_pipeline_run_duration_seconds_count{cicd_pipeline_run_state="executing", cicd_pipeline_name=~"$pipeline"}[$__rate_interval]))`, "{{cicd_pipeline_result}}"}},
		{"Duration of runs", "s", "p50 and p95 of executing", []string{
			`histogram_quantile(0.5, sum by (le, cicd_pipeline_name) (rate(cicd_pipeline_run_duration_seconds_bucket{cicd_pipeline_run_state="executing", cicd_pipeline_name=~"$pipeline"}[$__rate_interval])))`, "p50 {{cicd_pipeline_name}}",
			`histogram_quantile(0.95, sum by (le, cicd_pipeline_name) (rate(cicd_pipeline_run_duration_seconds_bucket{cicd_pipeline_run_state="executing", cicd_pipeline_name=~"$pipeline"}[$__rate_interval])))`, "p95 {{cicd_pipeline_name}}"}},
		{"Attempts", "ops", "a second, by outcome", []string{"sum by (outcome) (rate(pipelined_attempts_total[$__rate_interval]))", "{{outcome}}"}},
		{"Failed attempts", "ops", "a second, by pipeline and kind", []string{`sum by (cicd_pipeline_name, error_type) (rate(cicd_pipeline_run_errors_total{cicd_pipeline_name=~"$pipeline"}[$__rate_interval]))`, "{{cicd_pipeline_name}} {{error_type}}"}},
		{"Time of attempts", "s", "p95, by outcome", []string{quantile("0.95", "pipelined_attempt_duration_seconds", "outcome"), "{{outcome}}"}},
		{"Time until a worker was free", "s", "from ready to started", []string{quantile("0.5", "pipelined_attempt_queue_seconds", ""), "p50", quantile("0.95", "pipelined_attempt_queue_seconds", ""), "p95"}},
		{"Modules that wait", "", "by reason", []string{"max by (reason) (pipelined_modules_waiting)", "{{reason}}"}},
		{"Result cache", "percentunit", "share of look-ups with a cached result", []string{`sum(rate(pipelined_cache_lookups_total{result="hit"}[$__rate_interval])) / sum(rate(pipelined_cache_lookups_total[$__rate_interval]))`, "hits"}},
	}},
	{"Consensus", []view{
		{"Commit", "s", "from the proposal of an entry until it is applied", []string{quantile("0.5", "pipelined_raft_commit_duration_seconds", ""), "p50", quantile("0.99", "pipelined_raft_commit_duration_seconds", ""), "p99"}},
		{"Flush of the log", "s", "p99, by node", []string{quantile("0.99", "pipelined_raft_fsync_duration_seconds", "instance"), "{{instance}}"}},
		{"Application to the state", "s", "p99, by node", []string{quantile("0.99", "pipelined_raft_apply_duration_seconds", "instance"), "{{instance}}"}},
		{"Followers behind", "", "entries not acknowledged", []string{"max by (peer) (pipelined_raft_peer_lag_entries)", "{{peer}}"}},
		{"Terms", "", "changes within an hour", []string{"max(increase(pipelined_raft_term_changes_total[1h]))", "changes"}},
		{"Voters", "", "by status", []string{"max by (status) (pipelined_raft_voters)", "{{status}}"}},
		{"Index", "", "committed and applied, by node", []string{"pipelined_raft_commit_index", "committed {{instance}}", "pipelined_raft_applied_index", "applied {{instance}}"}},
		{"Failover", "s", "gap between two leaders, p95", []string{"histogram_quantile(0.95, sum by (le) (increase(pipelined_failover_seconds_bucket[1d])))", "gap"}},
	}},
	{"Leader's work", []view{
		{"Planner", "s", "p99 of one plan", []string{quantile("0.99", "pipelined_planner_duration_seconds", ""), "p99"}},
		{"Assignments", "ops", "a second", []string{"sum(rate(pipelined_assignments_total[$__rate_interval]))", "assignments"}},
		{"Ready modules", "", "that no worker has taken yet", []string{"max(pipelined_planner_backlog)", "modules"}},
		{"Adopted and repeated", "", "attempts within a day", []string{"sum(increase(pipelined_attempts_adopted_total[1d]))", "adopted", "sum(increase(pipelined_attempts_repeated_total[1d]))", "repeated"}},
		{"Webhooks", "", "events within an hour, by what came of sending them", []string{"sum by (outcome) (increase(pipelined_webhook_deliveries_total[1h]))", "{{outcome}}"}},
	}},
	{"Bytes", []view{
		{"Free on the disk", "bytes", "by node", []string{"pipelined_disk_free_bytes", "{{instance}}"}},
		{"Blobs", "bytes", "by node and form", []string{"pipelined_blob_bytes", "{{instance}} {{form}}"}},
		{"Transfers", "Bps", "between nodes", []string{"sum by (direction) (rate(pipelined_blob_transfer_bytes_total[$__rate_interval]))", "{{direction}}"}},
		{"Too few copies, damage", "", "blobs", []string{"max(pipelined_blobs_one_copy)", "too few copies", "sum(pipelined_blobs_damaged_total)", "damaged"}},
		{"Cached results", "bytes", "of all pipelines", []string{"max(pipelined_cache_bytes)", "bytes"}},
	}},
	{"HTTP and process", []view{
		{"Requests", "reqps", "by status", []string{"sum by (code) (rate(pipelined_http_requests_total[$__rate_interval]))", "{{code}}"}},
		{"Slow routes", "s", "p99 of the ten slowest", []string{"topk(10, " + quantile("0.99", "pipelined_http_request_duration_seconds", "route") + ")", "{{route}}"}},
		{"Streams", "", "under way, by kind", []string{"sum by (kind) (pipelined_streams)", "{{kind}}"}},
		{"Errors of pipelined", "ops", "by part", []string{"sum by (cicd_system_component, error_type) (rate(cicd_system_errors_total[$__rate_interval]))", "{{cicd_system_component}} {{error_type}}"}},
		{"Memory", "bytes", "resident, by node", []string{"process_resident_memory_bytes", "{{instance}}"}},
		{"Processor", "percentunit", "of one core, by node", []string{"rate(process_cpu_seconds_total[$__rate_interval])", "{{instance}}"}},
		{"Gossip", "s", "p99 of probes", []string{quantile("0.99", "pipelined_gossip_probe_seconds", "instance"), "{{instance}}"}},
		{"Health by gossip", "", "0 is healthy; suspicions within an hour", []string{"pipelined_gossip_health_score", "{{instance}}", "sum(increase(pipelined_suspicions_total[1h]))", "suspicions"}},
		{"Versions", "", "nodes by version", []string{"count by (version) (pipelined_build_info)", "{{version}}"}},
		{"Silence of the leader", "s", "by node", []string{"pipelined_raft_last_contact_seconds", "{{instance}}"}},
	}},
}

// makeBoard lays the rows out, four panels beside each other.
func makeBoard() board {
	data := &source{Type: "prometheus", UID: "${datasource}"}
	b := board{Title: "pipelined", UID: "pipelined", Tags: []string{"pipelined", "ci"}, Schema: 39, Refresh: "30s", Time: span{"now-6h", "now"},
		Timezone: "browser", Editable: true,
		Templating: vars{[]variable{
			{Name: "datasource", Label: "Prometheus", Type: "datasource", Query: "prometheus"},
			{Name: "pipeline", Label: "Pipeline", Type: "query", Query: "label_values(cicd_pipeline_run_duration_seconds_count, cicd_pipeline_name)", Source: data,
				Refresh: 2, Multi: true, All: true, AllText: ".*"},
		}}}

	const width, height, columns = 6, 7, 4
	id, y, zero := 0, 0, 0
	next := func() int { id++; return id }
	for _, row := range rows {
		b.Panels = append(b.Panels, panel{ID: next(), Type: "row", Title: row.title, Grid: grid{1, width * columns, 0, y}})
		y++
		for i, v := range row.views {
			p := panel{ID: next(), Type: "timeseries", Title: v.title, Description: v.says, Source: data,
				Grid: grid{height, width, i % columns * width, y + i/columns*height}, Field: &field{Defaults: defaults{Unit: v.unit, Min: &zero}, Overrides: []string{}}}
			for q := 0; q < len(v.queries); q += 2 {
				p.Targets = append(p.Targets, target{Ref: string(rune('A' + q/2)), Expr: v.queries[q], Legend: v.queries[q+1]})
			}
			b.Panels = append(b.Panels, p)
		}
		y += (len(row.views) + columns - 1) / columns * height
	}
	return b
}

// queries are the board's, as a Prometheus reads them that scrapes each second.
func queries() []string {
	var list []string
	for _, p := range makeBoard().Panels {
		for _, t := range p.Targets {
			list = append(list, strings.NewReplacer("$__rate_interval", "10s", "$pipeline", ".*").Replace(t.Expr))
		}
	}
	return list
}

// TestBoard: the committed board is what the table above says.
func TestBoard(t *testing.T) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(makeBoard()); err != nil {
		t.Fatal(err)
	}

	path := examples + "dashboard.json"
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, b.Bytes()) {
		t.Error("examples/monitoring/dashboard.json is not what board_test.go says: go test ./test/monitoring -run TestBoard -update")
	}
}
