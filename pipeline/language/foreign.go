package language

// Words of GitHub Actions, GitLab, Jenkins, Dagu, Make and Compose, and what says the
// same here. The parts of a pipeline that exist under the same name are not among them.
var (
	foreignInModule = map[string]string{
		"needs": dependsHint, "need": dependsHint, "depends": dependsHint, "deps": dependsHint, "dependencies": dependsHint, "prerequisites": dependsHint, "after": dependsHint, "stage": dependsHint,
		"run": scriptHint, "sh": scriptHint, "bash": scriptHint, "cmd": scriptHint, "cmds": scriptHint, "commands": scriptHint, "args": scriptHint, "entrypoint": scriptHint,
		"steps": stepsHint, "step": stepsHint, "stages": stepsHint, "jobs": stepsHint,
		"artifacts": outputsHint, "artifact": outputsHint, "archiveArtifacts": outputsHint, "paths": outputsHint, "outs": outputsHint, "generates": outputsHint, "targets": outputsHint, "stash": outputsHint,
		"sources": inputsHint, "srcs": inputsHint,
		"runs-on": requiresHint, "runs_on": requiresHint, "runsOn": requiresHint, "agent": requiresHint, "runner": requiresHint, "node": requiresHint, "pool": requiresHint,
		"if": whenHint, "condition": whenHint, "rules": whenHint, "only": whenHint, "except": whenHint, "preconditions": whenHint, "unless": whenHint,
		"environment": envHint, "variables": envHint, "vars": envHint, "envs": envHint,
		"timeout-minutes": timeoutHint, "timeout_minutes": timeoutHint, "timeoutSec": timeoutHint, "timeout_in_minutes": timeoutHint,
		"continue-on-error": ignoreHint, "continue_on_error": ignoreHint, "continueOn": ignoreHint, "continueOnError": ignoreHint, "allow_failure": ignoreHint, "soft_fail": ignoreHint,
		"strategy": matrixHint, "parallel": matrixHint, "axes": matrixHint,
		"uses": actionHint, "with": actionHint, "extends": actionHint, "include": actionHint,
		"before_script": hooksHint, "after_script": hooksHint, "post": hooksHint, "handlers": hooksHint, "handlerOn": hooksHint,
		"concurrency": lockHint, "resource_group": lockHint, "lock": lockHint, "mutex": lockHint,
		"retries": retryHint, "retryPolicy": retryHint, "retry_policy": retryHint, "attempts": retryHint,
		"working-directory": dirHint, "working_directory": dirHint, "workdir": dirHint, "dir": dirHint, "cwd": dirHint,
		"manual": approvalHint, "input": approvalHint, "environments": approvalHint,
		"on_failure": onFailureHint, "on_error": onFailureHint, "fail_fast": onFailureHint,
		"container": imageHint, "docker": imageHint, "services": serviceHint, "ports": portsHint,
		"volumes": volumesHint, "volume": volumesHint, "mounts": volumesHint,
		"call": childHint, "workflow": childHint, "workflow_call": childHint, "subworkflow": childHint, "subdag": childHint,
		"always": "write always_run = true",
		"name":   nameHint, "id": nameHint, "label": nameHint,
		"cron": scheduleHint, "on": scheduleHint,
	}

	foreignInPipeline = map[string]string{
		"jobs": moduleHint, "job": moduleHint, "stages": stageHint, "stage": stageHint, "steps": moduleHint, "step": moduleHint, "tasks": moduleHint, "task": moduleHint,
		"target": moduleHint, "targets": moduleHint, "modules": moduleHint, "nodes": moduleHint,
		"on": scheduleHint, "trigger": scheduleHint, "triggers": scheduleHint, "cron": scheduleHint,
		"variables": variableHint, "vars": variableHint, "params": variableHint, "parameters": variableHint, "inputs": variableHint, "input": variableHint,
		"environment": envHint, "envs": envHint,
		"defaults": templateHint, "default": templateHint, "extends": templateHint, "include": importsHint, "includes": importsHint, "import": importsHint,
		"post": hooksHint, "handlers": hooksHint, "handlerOn": hooksHint,
		"agent":   requiresHint + ", in a module",
		"runs-on": requiresHint + ", in a module",
		"script":  moduleHint, "command": moduleHint, "run": moduleHint,
		"notification": notifyHint, "notifications": notifyHint, "mailOn": notifyHint, "slack": notifyHint, "alerts": notifyHint,
		"name": nameHint, "artifacts": outputsHint + ", in a module",
		"maxActiveSteps": "write max_parallel = 4", "max-parallel": "write max_parallel = 4",
	}
)

// Of a container beside a module, and of a notification.
var (
	foreignInService = map[string]string{
		"ports": portsHint, "port": portsHint, "expose": portsHint, "volumes": "a service has no directory of the machine: a script of the module can load what it needs",
		"environment": envHint, "healthcheck": healthHint, "health_check": healthHint, "health_cmd": healthHint, "options": healthHint,
		"entrypoint": `write command = ["program", "argument"]`, "credentials": `write registry_auth = "SECRET" in the module`,
	}
	foreignInNotify = map[string]string{
		"when": onEventHint, "events": onEventHint, "if": onEventHint, "on_failure": onEventHint,
		"slack": webhookHint, "url": webhookHint, "channel": webhookHint, "to": webhookHint, "mail": webhookHint, "email": webhookHint,
	}
)

// A workspace has no list of what goes along: what does not is easier to check.
var foreignInWorkspace = map[string]string{"include": onlyHint, "files": onlyHint, "inputs": onlyHint, "paths": onlyHint, "ignore": `write exclude = ["path/**"]`}

const (
	onlyHint = `to send only some files, write exclude = ["**", "!path/**"]`

	dependsHint  = "write depends_on = [module.NAME]"
	scriptHint   = `write script = "…" for a shell, or command = ["program", "argument"]`
	stepsHint    = "a module is one step: write its lines into one script, or a module for each with depends_on between them"
	outputsHint  = `write outputs = ["path/**"]`
	inputsHint   = `write inputs = ["path/**"]`
	requiresHint = `write requires = { os = "linux", tags = ["TAG"] }`
	whenHint     = "write when = CONDITION"
	envHint      = `write env = { NAME = "value" }`
	imageHint    = `write image = "golang:1.26"`
	serviceHint  = `write service "NAME" { image = "postgres:18" } for each`
	portsHint    = "leave it out: a module reaches all ports of a service, by its name"
	healthHint   = `write health = "pg_isready", a script that runs in the service until it succeeds`
	volumesHint  = `write caches = ["NAME"] for a directory that the worker keeps, $PIPELINED_CACHE/NAME`
	childHint    = `write pipeline = "FILE.hcl" and variables = { NAME = value }`
	notifyHint   = `write notify "NAME" { webhook = "NAME" }, or with a command in place of webhook`
	onEventHint  = `write on = ["failure", "recovery"]`
	webhookHint  = `an admin adds the address (pipelined webhooks add NAME URL -format slack): write webhook = "NAME"`
	timeoutHint  = `write timeout = "10m"`
	// The word stands for three things.
	onFailureHint = `in the pipeline, on_failure = "continue" runs what does not depend on a failure; here, ignore_failure = true does not count this module's, and hooks { on_failure = SCRIPT } runs a script after it`
	ignoreHint    = "write ignore_failure = true"
	matrixHint    = `write matrix = { axis = ["a", "b"] }`
	actionHint    = "there are no actions: write script, or use = template.NAME for settings that modules share"
	hooksHint     = "write hooks { before = … after = … on_success = … on_failure = … }"
	lockHint      = `write not_in_parallel = ["NAME"]`
	retryHint     = "write retry { attempts = 3 }"
	dirHint       = `write working_dir = "path"`
	approvalHint  = `write approval { message = "…" } in a module of its own`
	nameHint      = `the name stands before the brace: module "NAME" { … }`
	moduleHint    = `write module "NAME" { script = "…" }`
	stageHint     = moduleHint + ", and in it depends_on = [module.NAME] for those that run before"
	scheduleHint  = `runs begin with run or submit; for times write schedule { cron = "0 3 * * *" } in the pipeline`
	variableHint  = `write variable "NAME" { default = "…" }`
	importsHint   = `write imports = ["lib.hcl"]: files with template, locals and variable blocks`
	templateHint  = `write template "NAME" { … }, and use = template.NAME in modules`
)

// foreignHint is what says here what a word of another tool says there; "" for any other
// word.
func foreignHint(where, name string) string {
	switch where {
	case "module", "template":
		return foreignInModule[name]
	case "pipeline":
		return foreignInPipeline[name]
	case "workspace":
		return foreignInWorkspace[name]
	case serviceBlock:
		return foreignInService[name]
	case notifyBlock:
		return foreignInNotify[name]
	}

	return ""
}

// foreignRoots are the first parts of names in expressions of other tools.
var foreignRoots = map[string]string{
	"github": "write git.sha, git.branch, git.tag or run.submitter; other variables of GitHub come with env_from = [\"GITHUB_*\"]",
	"needs":  "write module.NAME.result.KEY", "steps": "write module.NAME.result.KEY", "jobs": "write module.NAME.result.KEY",
	"params": "write var.NAME", "inputs": "write var.NAME", "vars": "write var.NAME", "parameters": "write var.NAME", "variables": "write var.NAME",
	"runner":   "a module asks for its worker with requires = { os = \"linux\" }",
	"strategy": "write matrix.AXIS", "item": "write each.value", "ITEM": "write each.value",
}
