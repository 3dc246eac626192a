package convert

import (
	"cmp"
	"strings"

	"github.com/rhysd/actionlint"
)

// setups are actions that install tools: what a worker must have instead.
var setups = map[string][]string{
	"actions/setup-go": {"go"}, "actions/setup-node": {"node"}, "actions/setup-python": {"python3"},
	"actions/setup-java": {"java"}, "actions/setup-dotnet": {"dotnet"}, "ruby/setup-ruby": {"ruby"},
	"dtolnay/rust-toolchain": {"cargo"}, "actions-rs/toolchain": {"cargo"}, "actions-rust-lang/setup-rust-toolchain": {"cargo"},
	"pnpm/action-setup": {"pnpm"}, "oven-sh/setup-bun": {"bun"}, "denoland/setup-deno": {"deno"},
	"shivammathur/setup-php": {"php"}, "astral-sh/setup-uv": {"uv"}, "hashicorp/setup-terraform": {"terraform"},
	"docker/setup-buildx-action": {"docker"}, "docker/setup-qemu-action": {"docker"}, "azure/setup-helm": {"helm"},
	"sigstore/cosign-installer": {"cosign"}, "anchore/sbom-action/download-syft": {"syft"},
}

// commands are actions that are a command: the program, and the inputs with its arguments
// and its directory.
var commands = map[string]struct{ program, args, preset, dir string }{
	"golangci/golangci-lint-action": {"golangci-lint run", "args", "", "working-directory"},
	"goreleaser/goreleaser-action":  {"goreleaser", "args", "", "workdir"},
	"pre-commit/action":             {"pre-commit run", "extra_args", "--show-diff-on-failure --color=always --all-files", ""},
}

// actionName is the name of an action, without its version.
func actionName(e *actionlint.ExecAction) string {
	if e.Uses == nil {
		return ""
	}
	name, _, _ := strings.Cut(e.Uses.Value, "@")
	return strings.ToLower(name)
}

// action converts a step that uses an action.
func (j *job) action(st *actionlint.Step, e *actionlint.ExecAction) part {
	if e.Uses == nil {
		return part{}
	}
	name := actionName(e)
	input := func(key string) string {
		if in := e.Inputs[key]; in != nil && in.Value != nil {
			return in.Value.Value
		}
		return ""
	}
	pos := cmp.Or(e.Uses.Pos, st.Pos)
	if tools, is := setups[name]; is {
		j.tool(tools...)
		for _, in := range e.Inputs {
			if in.Name != nil && in.Value != nil && strings.HasSuffix(strings.ToLower(in.Name.Value), "version") {
				j.w.note(j, pos, "uses: "+name+" with "+in.Name.Value+" "+in.Value.Value, "workers bring their tools: requires asks for "+strings.Join(tools, ", ")+", not for a version")
			}
		}
		return part{done: true}
	}
	if c, is := commands[name]; is {
		j.tool(strings.Fields(c.program)[0])
		s := &scope{w: j.w, j: j, script: true}
		args, err := s.text(cmp.Or(input(c.args), c.preset), templated.Replace)
		lines, own := j.stepEnv(s, st)
		if dir := input(c.dir); err == nil && (dir != "" || j.workingDirectory() != "") {
			var line string
			line, err = j.enter(s, dir)
			lines, own = append(lines, line), true
		}
		if err != nil {
			s.note(pos, "uses: "+name, err)
			return part{}
		}
		lines = append(lines, strings.TrimSpace(c.program+" "+strings.TrimSpace(args)))
		return part{text: strings.Join(lines, "\n"), own: own, pipefail: true}
	}
	switch name {
	case "actions/checkout":
		if r := cmp.Or(input("repository"), input("ref"), input("path")); r != "" && !strings.Contains(r, "github.") {
			j.w.note(j, pos, "actions/checkout of "+r, "the workspace is that of the submission: fetch others in the script")
		}
	case "actions/cache", "actions/cache/restore", "actions/cache/save", "swatinem/rust-cache":
		j.w.note(j, pos, "uses: "+name, "caches keeps directories of tools on a worker, cache = true whole results")
		return part{done: true}
	case "actions/upload-artifact":
		j.upload(input("path"), pos)
		return part{done: true}
	case "actions/download-artifact":
		if dir := input("path"); dir != "" && dir != "." && dir != "./" {
			j.w.note(j, pos, "actions/download-artifact to "+dir, "outputs of what the module depends on lie at their own paths")
		} else if len(j.needs) == 0 {
			j.w.note(j, pos, "actions/download-artifact", "the job needs no other one, so there is nothing to have")
		}
	default:
		why := "actions run at GitHub alone: write what it does into the script"
		if strings.HasPrefix(name, "./") {
			why = "an action of the repository: write its steps into the script"
		}
		j.w.note(j, pos, "uses: "+e.Uses.Value, why)
	}
	return part{}
}

// upload adds the paths of an artifact to the outputs.
func (j *job) upload(paths string, pos *actionlint.Pos) {
	for path := range strings.Lines(paths) {
		path = strings.TrimSpace(path)
		for _, here := range []string{"./", "${{ github.workspace }}/", "${{github.workspace}}/"} {
			path = strings.TrimPrefix(path, here)
		}
		switch {
		case path == "":
		case strings.Contains(path, "${{"):
			s := &scope{w: j.w, j: j}
			if expr, err := s.literal(path); err != nil {
				s.note(pos, "actions/upload-artifact of "+path, err)
			} else {
				j.files = append(j.files, expr)
			}
		case strings.HasPrefix(path, "/") || strings.HasPrefix(path, "~") || strings.HasPrefix(path, ".."):
			j.w.note(j, pos, "actions/upload-artifact of "+path, "outputs lie in the module's directory")
		default:
			j.files = append(j.files, quote(path))
		}
	}
}
