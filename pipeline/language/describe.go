package language

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// Schema is the language, as the decoder accepts it.
type Schema struct {
	// Blocks holds the one block that a file consists of, with all others in it.
	Blocks []SchemaBlock `json:"blocks"`
}

// SchemaBlock describes a kind of block.
type SchemaBlock struct {
	Name string `json:"name"`
	// Labelled blocks have a name: variable "version" { … }.
	Labelled bool `json:"labelled,omitempty"`
	// Repeatable blocks may occur more than once in the same block.
	Repeatable bool `json:"repeatable,omitempty"`
	// Importable blocks stand in imported files, too, at their top.
	Importable  bool   `json:"importable,omitempty"`
	Description string `json:"description"`
	// Like names the block whose attributes and blocks this one has, too.
	Like       string            `json:"like,omitempty"`
	Attributes []SchemaAttribute `json:"attributes,omitempty"`
	Blocks     []SchemaBlock     `json:"blocks,omitempty"`
}

// SchemaAttribute describes an attribute.
type SchemaAttribute struct {
	Name        string `json:"name"`
	Type        string `json:"type"`
	Description string `json:"description"`
	// Default is the value if none is given; "" if there is no default.
	Default  string `json:"default,omitempty"`
	Required bool   `json:"required,omitempty"`
	// Choices are the words that a text may be.
	Choices []string `json:"choices,omitempty"`
	// Minimum and Maximum bound a number.
	Minimum *int `json:"minimum,omitempty"`
	Maximum *int `json:"maximum,omitempty"`
	// Attributes are those of an object that is written out.
	Attributes []SchemaAttribute `json:"attributes,omitempty"`
}

// DescribeLanguage returns the blocks and attributes that Parse accepts. Names,
// types, choices and bounds come from the tables that it decodes with.
func DescribeLanguage() Schema {
	requires := describeSpecs("requires", requiresSpecs, nil)
	resources := describeSpecs("resources", resourceSpecs, nil)
	module := SchemaBlock{Name: "module", Labelled: true, Repeatable: true,
		Attributes: describeSpecs("module", moduleSpecs, moduleNamesAll),
		Blocks: []SchemaBlock{
			{Name: "retry", Attributes: describeSpecs("retry", retrySpecs, nil)},
			{Name: "reports", Attributes: describeSpecs("reports", reportSpecs, nil)},
			{Name: "approval", Attributes: describeSpecs("approval", approvalSpecs, approvalNames)},
			{Name: hookBlock, Attributes: describeSpecs(hookBlock, moduleHookSpecs, nil)},
			{Name: serviceBlock, Labelled: true, Repeatable: true, Attributes: describeSpecs(serviceBlock, serviceSpecs(""), serviceNames)},
		}}

	module.without("retry", "reports", "approval", hookBlock, serviceBlock)

	for i := range module.Attributes {
		switch a := &module.Attributes[i]; a.Name {
		case "requires":
			a.Attributes = requires
		case "resources":
			a.Attributes = resources
		}
	}

	top := SchemaBlock{Name: "pipeline", Labelled: true,
		Attributes: describeSpecs("pipeline", pipelineSpecs, pipelineNames),
		Blocks: []SchemaBlock{
			{Name: "variable", Labelled: true, Repeatable: true, Attributes: describeSpecs[variable]("variable", nil, variableNames),
				Blocks: []SchemaBlock{{Name: "validation", Repeatable: true, Attributes: describeSpecs[variable]("validation", nil, validationNames)}}},
			{Name: "locals", Repeatable: true},
			{Name: "workspace", Attributes: describeSpecs("workspace", workspaceSpecs, nil)},
			{Name: requirementBlock, Labelled: true, Repeatable: true, Attributes: describeSpecs(requirementBlock, requirementSpecs, nil)},
			{Name: hookBlock, Attributes: describeSpecs(hookBlock, ownHookSpecs, nil)},
			{Name: notifyBlock, Labelled: true, Repeatable: true, Attributes: describeSpecs(notifyBlock, notifySpecs, notifyNames)},
			{Name: scheduleBlock, Attributes: describeSpecs(scheduleBlock, scheduleSpecs, nil)},
			{Name: concurrencyBlock, Attributes: describeSpecs(concurrencyBlock, concurrencySpecs, nil)},
			{Name: "template", Labelled: true, Repeatable: true, Like: "module"},
			module,
		}}

	top.without(slices.Collect(maps.Keys(pipelineBlocks))...)
	top.Blocks[0].without("validation")
	top.describe("")
	for i := range top.Blocks {
		top.Blocks[i].Importable = importBlocks[top.Blocks[i].Name]
	}

	return Schema{Blocks: []SchemaBlock{top}}
}

// without removes the names of blocks, which the decoder lists together with
// those of attributes.
func (b *SchemaBlock) without(names ...string) {
	b.Attributes = slices.DeleteFunc(b.Attributes, func(a SchemaAttribute) bool { return slices.Contains(names, a.Name) })
}

// describe fills in what blocks are for; outer is the block around.
func (b *SchemaBlock) describe(outer string) {
	b.Description = blockTexts[outer+"."+b.Name]
	if b.Description == "" {
		b.Description = blockTexts[b.Name]
	}
	for i := range b.Blocks {
		b.Blocks[i].describe(b.Name)
	}
}

// describeSpecs describes the attributes of a block: those of specs, and those
// that names has beside them.
func describeSpecs[T any](block string, specs map[string]spec[T], names []string) []SchemaAttribute {
	all := map[string]bool{}
	for name := range specs {
		all[name] = true
	}
	for _, name := range names {
		all[name] = true
	}

	var list []SchemaAttribute
	for _, name := range slices.Sorted(maps.Keys(all)) {
		a := SchemaAttribute{Name: name}
		if s, known := specs[name]; known {
			s.describe(&a)
		}
		text := attributeTexts[block+"."+name]
		a.Description, a.Default, a.Required = text.what, text.fallback, text.required
		if text.typ != "" {
			a.Type = text.typ
		}
		list = append(list, a)
	}

	return list
}

// describe says what the value of an attribute looks like.
func (s *spec[T]) describe(a *SchemaAttribute) {
	a.Type = [...]string{kindText: "text", kindTexts: "list of texts", kindNumber: "number", kindNumbers: "list of numbers",
		kindDuration: "duration", kindFlag: "true or false", kindCounts: "list of texts, or object of numbers"}[s.kind]
	switch {
	case s.kind == kindNumber || s.kind == kindNumbers || s.kind == kindCounts:
		a.Minimum, a.Maximum = &s.low, &s.high
	case s.check != nil:
		// No keyword of the language has a character like this.
		if bad := s.check("\x00"); bad != nil {
			a.Choices = bad.choices
		}
	}
}

// text is what the decoder's tables do not say of an attribute. typ is for
// those that have no spec, or one that says too little.
type text struct {
	what, fallback, typ string
	required            bool
}

var blockTexts = map[string]string{
	"pipeline":       "the one block of a file: modules, and what they share",
	"variable":       "a value that is given when the pipeline is submitted",
	"validation":     "what a value of the variable must fulfil",
	"locals":         "names for values: any attributes, seen as local.NAME",
	"workspace":      "the files that go along with a run",
	"requirement":    "a command that must succeed before anything else is run",
	"pipeline.hooks": "scripts around the whole run, each a module of its own",
	"module.hooks":   "scripts around a module, on its worker, in its directory",
	notifyBlock:      "what is sent, or run, when a run starts or ends; neither changes how it ends",
	"schedule":       "when the cluster makes runs of the pipeline by itself, once it is registered with submit -register",
	"concurrency":    "runs of one group go one at a time",
	"template":       "settings that modules take over with use; the module's own take precedence",
	"module":         "one unit of work: one command or one script, another pipeline, or the wait for a person",
	"retry":          "tries after failures of the module itself",
	"reports":        "files in which the module reports its tests; one that cannot be read is a warning",
	serviceBlock:     "a container beside the module's, such as a database, which the module reaches by this name",
	"approval":       "makes the module wait for an approval, in place of command and script",
}

var attributeTexts = map[string]text{
	"pipeline.description":  {what: "what the pipeline is for"},
	"pipeline.tags":         {what: "words that are kept with the run"},
	"pipeline.max_parallel": {what: "modules of a run at the same time, over the whole cluster", fallback: "no limit"},
	"pipeline.timeout":      {what: "of the whole run, from the start of its first module on", fallback: "no limit"},
	"pipeline.shell":        {what: "what runs scripts: sh -eu, or bash -euo pipefail, which also fails if a command before a | does", fallback: shellSh},
	"pipeline.on_failure":   {what: "once a module has failed: start nothing new, also stop what runs, or run what does not depend on it", fallback: pipeline.OnFailureStop},
	"pipeline.imports":      {what: "files below the workspace root whose template, locals and variable blocks are the pipeline's, too; they may have imports themselves", typ: "list of paths"},
	"pipeline.env":          {what: "variables of every module's environment; a module's own win, and null takes one away", typ: "object"},
	"pipeline.env_from":     {what: "variables taken from where the run is submitted; * stands for anything but names that look like credentials", typ: "list of patterns"},

	"variable.type":            {what: "string, number, bool, any, list(T), set(T), map(T), tuple([…]) or object({…})", typ: "type", fallback: "that of default, else string"},
	"variable.default":         {what: "what it has when it is not given; without, it must be", typ: "any value"},
	"variable.description":     {what: "what the variable is for", typ: "text"},
	"variable.sensitive":       {what: "hides its value in logs, messages, plans and answers", typ: "true or false", fallback: "false"},
	"validation.condition":     {what: "an expression over variables that must be true", typ: "true or false", required: true},
	"validation.error_message": {what: "the message if it is not", typ: "text", required: true},

	"workspace.root":    {what: "the directory of the files, above the pipeline's file or in its directory", typ: "path", fallback: "the file's directory"},
	"workspace.exclude": {what: "what stays behind, besides what .gitignore and .pipelinedignore name; ! takes back", typ: "list of globs"},

	"requirement.command": {what: "run as it is, without a shell", required: true},
	"requirement.message": {what: "with what the run fails where the command does"},
	"requirement.timeout": {what: "of the command", fallback: span(pipeline.DefaultTimeout)},

	"schedule.cron":     {what: "when it is due: minute, hour, day of month, month and day of week, or @daily, or @every 90s; H is a value that follows from the name; several are allowed", required: true, typ: "text, or list of texts"},
	"schedule.timezone": {what: "the zone of cron, by its name in the IANA database", fallback: "UTC"},
	"schedule.overlap":  {what: "what happens to a tick while a run of an earlier one is active", fallback: "skip; queue with catch_up = \"all\""},
	"schedule.catch_up": {what: "which of the ticks that were missed, while no leader was there, make a run after all", fallback: pipeline.CatchUpLast},

	"concurrency.group":              {what: "the name of the group, which pipelines may share", fallback: "the pipeline's name"},
	"concurrency.cancel_in_progress": {what: "a new run cancels those of its group, and does not wait for them in line", fallback: "false"},

	"hooks.before":     {what: "before it; what depends on it is not run where this fails", typ: "script"},
	"hooks.on_success": {what: "after success", typ: "script"},
	"hooks.on_failure": {what: "after failure", typ: "script"},
	"hooks.after":      {what: "last, whatever happened", typ: "script"},

	"notify.on":      {what: "when: start, failure, success, and recovery, the first success after a failure", typ: "list of words", fallback: `["failure", "recovery"]`},
	"notify.webhook": {what: "the webhook of the cluster that it goes to", typ: "name"},
	"notify.message": {what: "said with it; may use run.status", typ: "text"},
	"notify.command": {what: "run in place of a webhook, without a shell; it finds what failed in $PIPELINED_NOTICE", typ: "list of texts"},
	"notify.script":  {what: "run in place of a webhook, by the pipeline's shell", typ: "script"},
	"notify.env":     {what: "variables of its environment, over those of the pipeline", typ: "object"},
	"notify.secrets": {what: "secrets of the cluster that it sees as variables", typ: "list of names"},
	"notify.timeout": {what: `of command or script; "0" for none`, typ: "duration", fallback: span(pipeline.DefaultNotifyTimeout)},

	"module.description":         {what: "what the module does"},
	"module.command":             {what: "run as it is, without a shell; the first is the program", typ: "list of texts"},
	"module.script":              {what: "run by its shell, or by its own #! line", typ: "script"},
	"module.shell":               {what: "as that of the pipeline", fallback: "that of the pipeline"},
	"module.depends_on":          {what: "modules that it waits for, besides those that its expressions name", typ: "list of modules"},
	"module.optional_depends_on": {what: "modules that it waits for where the run includes them", typ: "list of modules"},
	"module.when":                {what: "false: it is skipped", typ: "true or false", fallback: "true"},
	"module.matrix":              {what: "an instance for each combination of the values of its axes, seen as matrix.AXIS", typ: "object of lists"},
	"module.for_each":            {what: "an instance for each element, seen as each.key and each.value; may be a module's result", typ: "list or object"},
	"module.use":                 {what: "takes the settings of a template", typ: "template.NAME"},
	"module.always_run":          {what: "runs whatever became of what it depends on, also when the run fails or is cancelled", fallback: "false"},
	"module.run_if":              {what: "not_failed: runs also if what it depends on was skipped, or failed with ignore_failure", fallback: pipeline.RunIfSucceeded},
	"module.ignore_failure":      {what: "its failure leaves the run succeeded_with_warnings", fallback: "false"},
	"module.env":                 {what: "variables of its environment; null takes one away that it would have", typ: "object"},
	"module.env_from":            {what: "variables taken from where the run is submitted; * stands for anything but names that look like credentials", typ: "list of patterns"},
	"module.inputs":              {what: "the files of the workspace that are in its directory; ! takes away", typ: "list of globs", fallback: "the whole workspace"},
	"module.outputs":             {what: "files that are kept, and laid out for the modules that depend on it; each must match something, and ! takes away", typ: "list of globs"},
	"module.outputs_optional":    {what: "as outputs, but may match nothing", typ: "list of globs"},
	"module.layout":              {what: "outputs of dependencies lie in a directory named as the dependency", fallback: "at their own paths"},
	"module.working_dir":         {what: "where it starts, inside of its directory", typ: "path", fallback: "."},
	"module.timeout":             {what: `of one attempt; "0" for none`, fallback: span(pipeline.DefaultTimeout)},
	"module.idle_timeout":        {what: "an attempt that writes no output for so long is stopped and has failed", fallback: "no limit"},
	"module.grace":               {what: "between TERM and KILL when it is stopped", fallback: span(pipeline.DefaultGrace)},
	"module.cache":               {what: "uses the cached result of the same work, and caches its own", fallback: "false"},
	"module.cache_key":           {what: "what the work depends on besides: each value must be the same", typ: "list of values"},
	"module.caches":              {what: "directories that a worker keeps between runs, below $PIPELINED_CACHE", typ: "list of names"},
	"module.requires":            {what: "what a worker must have, all of it", typ: "object"},
	"module.resources":           {what: "what it needs of its worker while it runs", typ: "object"},
	"module.max_parallel":        {what: "instances of its matrix or for_each that run at the same time in a run, over the whole cluster", fallback: "no limit"},
	"module.not_in_parallel":     {what: "keys: of all modules that name one, a single one runs, or as many as its number says, over the whole cluster and across runs"},
	"module.secrets":             {what: "secrets of the cluster that it sees as variables", typ: "list of names"},
	"module.priority":            {what: "higher goes first among what is ready", fallback: "0"},
	"module.on_disconnect":       {what: "whether a worker that has lost the cluster stops the module", fallback: pipeline.DisconnectKeep},
	"module.on_lost":             {what: "whether an attempt that was lost with its worker is repeated", fallback: pipeline.LostRerun},
	"module.tags":                {what: "what -tag selects by"},
	"module.pipeline":            {what: "the file, below the workspace root, of a pipeline that it runs as a run of its own, in place of command and script", typ: "path"},
	"module.variables":           {what: "values for the variables of that pipeline; may name results", typ: "object"},

	"module.image":         {what: "the module and its hooks run in a container of this image", fallback: "the worker itself"},
	"module.pull":          {what: "when images are pulled", fallback: pipeline.PullMissing},
	"module.registry_auth": {what: "the secret USER:PASSWORD of the image's registry", typ: "name"},

	"service.image":          {what: "what it runs", required: true},
	"service.command":        {what: "in place of the image's own"},
	"service.env":            {what: "variables of its environment", typ: "object"},
	"service.health":         {what: "run by its /bin/sh until it succeeds; only then does the module start", fallback: "it runs", typ: "script"},
	"service.health_timeout": {what: "until it is healthy, else the attempt has failed", fallback: span(pipeline.DefaultHealthTimeout)},

	"retry.attempts":    {what: "tries in all", required: true},
	"retry.backoff":     {what: "the first wait; it doubles, with jitter", fallback: span(pipeline.DefaultBackoff)},
	"retry.max_backoff": {what: "the longest wait", fallback: span(pipeline.DefaultMaxBackoff)},
	"retry.exit_codes":  {what: "only these are tried again", fallback: "any failure"},

	"reports.junit": {what: "files in JUnit's XML, read when an attempt has ended", required: true, typ: "list of globs"},

	"approval.message":    {what: "what is asked", typ: "text", required: true},
	"approval.approvers":  {what: "who may decide; * stands for anything", typ: "list of patterns", fallback: "everybody who may submit"},
	"approval.timeout":    {what: `how long it waits; "0" for no limit`, fallback: span(pipeline.DefaultApprovalTimeout)},
	"approval.on_timeout": {what: "what it becomes if there is no decision in time: failed, succeeded or skipped", fallback: pipeline.TimeoutReject},

	"requires.os":    {what: "the operating system"},
	"requires.arch":  {what: "the architecture"},
	"requires.tools": {what: "programs in its PATH"},
	"requires.tags":  {what: "tags that the worker was started with"},

	"resources.cpu":    {what: "processors, of which there may be fractions", typ: "number"},
	"resources.memory": {what: `a size with its unit, such as "1GiB"`, typ: "size"},
}

// span writes a duration as the language does, without zero units.
func span(d time.Duration) string {
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = strings.TrimSuffix(text, zero[1:])
		}
	}
	return text
}
