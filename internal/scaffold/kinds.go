package scaffold

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// proxies are variables without which tools find no network in many companies.
var proxies = []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE"}

// addGo adds vet, test and build of a Go module.
func addGo(p *Project, at *part) {
	programs := goPrograms(filepath.Join(at.root, at.dir))
	p.Found = append(p.Found, at.at("go.mod")+": vet, test and build with Go")
	p.use(variable{"GOCACHE", "${cache.dir}/go-build"}, variable{"GOMODCACHE", "${cache.dir}/go-mod"})
	p.take("GOPROXY", "GOPRIVATE", "GONOSUMDB", "GOFLAGS")
	p.take(proxies...)
	common := module{caches: []string{"go-build", "go-mod"}, tools: []string{"go"}, cached: true}
	vet, test, build := common, common, common
	vet.name, vet.command = "vet", []string{"go", "vet", "./..."}
	test.name, test.command = "test", []string{"go", "test", "./..."}
	build.name, build.command = "build", []string{"go", "build", "./..."}
	if programs {
		build.command = []string{"go", "build", "-o", "bin/", "./..."}
		build.outputs = []string{at.at("bin/*")}
	}
	p.add(at, vet)
	p.add(at, test)
	p.add(at, build)
}

var mainPackage = regexp.MustCompile(`(?m)^package main\b`)

// goPrograms reports whether a Go module has a program.
func goPrograms(dir string) bool {
	found := false
	_ = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case found || err != nil:
			return fs.SkipAll
		case d.IsDir() && name != dir && (strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") || slices.Contains([]string{"vendor", "testdata", "node_modules"}, d.Name()) || isFile(filepath.Join(name, "go.mod"))):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}

		text, err := os.ReadFile(name)
		found = err == nil && mainPackage.Match(text) && !strings.Contains(string(text[:min(len(text), 4096)]), "//go:build ignore")
		return nil
	})
	return found
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// packageJSON is what matters of package.json.
type packageJSON struct {
	Scripts         map[string]string `json:"scripts"`
	Workspaces      any               `json:"workspaces"`
	Dependencies    map[string]string `json:"dependencies"`
	DevDependencies map[string]string `json:"devDependencies"`
}

// nodeTool is a package manager.
type nodeTool struct {
	lock, program, install, run string
	// caches are the variables that name its cache, of older versions and of newer ones.
	caches []string
}

var nodeTools = []nodeTool{
	{"pnpm-lock.yaml", "pnpm", "pnpm install --frozen-lockfile", "pnpm run", []string{"npm_config_store_dir", "pnpm_config_store_dir"}},
	{"yarn.lock", "yarn", "yarn install --immutable || yarn install --frozen-lockfile", "yarn run", []string{"YARN_CACHE_FOLDER", "YARN_GLOBAL_FOLDER"}},
	{"bun.lock", "bun", "bun install --frozen-lockfile", "bun run", []string{"BUN_INSTALL_CACHE_DIR"}},
	{"bun.lockb", "bun", "bun install --frozen-lockfile", "bun run", []string{"BUN_INSTALL_CACHE_DIR"}},
	{"package-lock.json", "npm", "npm ci --no-audit --no-fund --prefer-offline", "npm run", []string{"npm_config_cache"}},
	{"", "npm", "npm install --no-audit --no-fund --no-package-lock --prefer-offline", "npm run", []string{"npm_config_cache"}},
}

// nodeScripts are the scripts of package.json that make modules, with what their
// modules are for.
var nodeScripts = []string{"lint", "typecheck", "test", "build"}

// addNode adds a module for each common script of a package.json.
func addNode(p *Project, at *part) {
	var pkg packageJSON
	if err := json.Unmarshal([]byte(at.read("package.json")), &pkg); err != nil {
		p.Notes = append(p.Notes, at.at("package.json")+" is not what npm reads, and was not used")
		return
	}

	tool := nodeTools[slices.IndexFunc(nodeTools, func(t nodeTool) bool { return t.lock == "" || at.has(t.lock) })]
	common := module{tools: []string{tool.program}, cached: true}
	var install string
	if tool.lock != "" || len(pkg.Dependencies)+len(pkg.DevDependencies) > 0 || pkg.Workspaces != nil {
		install = tool.install + "\n"
		for _, name := range tool.caches {
			p.use(variable{name, "${cache.dir}/" + tool.program})
		}
		common.caches = []string{tool.program}
	}
	if at.has("turbo.json") {
		p.use(variable{"TURBO_CACHE_DIR", "${cache.dir}/turbo"})
		common.caches = append(slices.Clip(common.caches), "turbo")
		p.take("TURBO_API", "TURBO_TEAM")
		p.Notes = append(p.Notes, `a remote cache of Turborepo also needs its token (that of a cluster: pipelined token create -role submit): pipelined secrets set TURBO_TOKEN, and secrets = ["TURBO_TOKEN"] in the modules`)
	}

	var made []string
	for _, name := range nodeScripts {
		run := pkg.Scripts[name]
		all := ""
		switch {
		case run != "" && !strings.Contains(run, "no test specified"):
		case pkg.Workspaces != nil && tool.program == "npm" && (name == "test" || name == "build"):
			all = " --workspaces --if-present"
		default:
			continue
		}

		m := common
		m.name, m.script = name, install+tool.run+" "+name+all+"\n"
		if name == "build" {
			m.optional = []string{at.at("dist/**")}
			if pkg.Workspaces != nil || at.has("pnpm-workspace.yaml") {
				m.optional = []string{at.at("**/dist/**"), "!" + at.at("**/node_modules/**")}
			}
		}
		p.add(at, m)
		made = append(made, name)
	}

	if made == nil && install != "" {
		m := common
		m.name, m.script = "install", install
		p.add(at, m)
		made = []string{"install"}
	}
	if made == nil {
		p.Found = append(p.Found, at.at("package.json")+": no script named "+strings.Join(nodeScripts, ", "))
		return
	}

	p.exclude = appendOnce(p.exclude, "**/node_modules/**")
	p.take("NODE_OPTIONS", "NODE_EXTRA_CA_CERTS", "npm_config_registry")
	switch tool.program { // whose newer versions have their own
	case "pnpm":
		p.take("pnpm_config_registry")
	case "yarn":
		p.take("YARN_NPM_REGISTRY_SERVER")
	}
	p.take(proxies...)
	p.Found = append(p.Found, at.at("package.json")+": "+strings.Join(made, ", ")+" with "+tool.program)
}

func appendOnce(list []string, text string) []string {
	if slices.Contains(list, text) {
		return list
	}

	return append(list, text)
}

var (
	pythonExtra = regexp.MustCompile(`(?m)^(test|tests|dev)\s*=\s*\[`)
	pythonBuild = regexp.MustCompile(`(?m)^\[(project|build-system)\]`)
)

// addPython adds the tests of a Python project, in a virtual environment.
func addPython(p *Project, at *part) {
	p.exclude = appendOnce(p.exclude, "**/.venv/**")
	p.take("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CERT", "PYENV_ROOT")
	p.take(proxies...)
	pyproject := at.read("pyproject.toml")
	tests := pythonTests(filepath.Join(at.root, at.dir))
	run := `python -m compileall -q -x '/\.venv/' .`
	if tests {
		run = "python -m pytest"
	}

	m := module{name: "test", cached: true}
	switch {
	case at.has("uv.lock"):
		p.use(variable{"UV_CACHE_DIR", "${cache.dir}/uv"})
		m.caches, m.tools, m.script = []string{"uv"}, []string{"uv"}, "uv sync --frozen\nuv run "+run+"\n"
	case at.has("poetry.lock"):
		// In its cache Poetry would keep an environment for each directory of a module.
		p.use(variable{"POETRY_CACHE_DIR", "${cache.dir}/poetry"}, variable{"POETRY_VIRTUALENVS_IN_PROJECT", "true"})
		m.caches, m.tools, m.script = []string{"poetry"}, []string{"poetry"}, "poetry install\npoetry run "+run+"\n"
	default:
		p.use(variable{"PIP_CACHE_DIR", "${cache.dir}/pip"})
		m.caches, m.tools = []string{"pip"}, []string{"python3"}
		lines := []string{"python3 -m venv .venv", ". .venv/bin/activate"}
		if at.has("requirements.txt") {
			lines = append(lines, "pip install --quiet -r requirements.txt")
		}
		if pythonBuild.MatchString(pyproject) || at.has("setup.py") {
			what := "."
			if extra := pythonExtra.FindStringSubmatch(pyproject); extra != nil {
				what = "'.[" + extra[1] + "]'"
			}
			lines = append(lines, "pip install --quiet "+what)
		}
		if tests {
			lines = append(lines, "pip install --quiet pytest")
		}
		m.script = strings.Join(append(lines, run), "\n") + "\n"
	}
	p.add(at, m)
	for _, name := range []string{"pyproject.toml", "setup.py", "requirements.txt"} {
		if at.has(name) {
			p.Found = append(p.Found, at.at(name)+": test with "+m.tools[0])
			return
		}
	}
}

// pythonTests reports whether a project has tests that pytest finds.
func pythonTests(dir string) bool {
	for _, pattern := range []string{"test_*.py", "*_test.py", "tests/*.py", "tests/*/*.py", "test/*.py"} {
		if list, _ := filepath.Glob(filepath.Join(dir, pattern)); len(list) > 0 {
			return true
		}
	}

	return false
}

// addRust adds build and test of a Rust project.
func addRust(p *Project, at *part) {
	p.Found = append(p.Found, at.at("Cargo.toml")+": test and build with Cargo")
	p.exclude = appendOnce(p.exclude, "**/target/**")
	p.use(variable{"CARGO_HOME", "${cache.dir}/cargo"}, variable{"CARGO_TARGET_DIR", "${cache.dir}/target"})
	p.take("RUSTUP_HOME", "RUSTUP_TOOLCHAIN")
	p.take(proxies...)
	var locked []string
	if at.has("Cargo.lock") {
		locked = []string{"--locked"}
	}
	m := module{caches: []string{"cargo", "target"}, tools: []string{"cargo"}, cached: true}
	test, build := m, m
	test.name, test.command = "test", append([]string{"cargo", "test"}, locked...)
	build.name, build.command = "build", append([]string{"cargo", "build"}, locked...)
	p.add(at, test)
	p.add(at, build)
	p.Notes = append(p.Notes, "if cargo comes from rustup, modules need it: export RUSTUP_HOME=\"$HOME/.rustup\" before pipelined run")
}

var makeTarget = regexp.MustCompile(`(?m)^([A-Za-z0-9][A-Za-z0-9_.-]*)\s*:(?:[^=]|$)`)

// makeTargets are the targets that make modules; the default goal is one if there is none
// of them.
var makeTargets = []string{"lint", "vet", "check", "test", "build", "all"}

// addMake adds the common targets of a Makefile.
func addMake(p *Project, at *part) {
	names := []string{"GNUmakefile", "makefile", "Makefile"} // as make looks for them
	name := names[max(0, slices.IndexFunc(names, at.has))]

	var targets []string
	for _, m := range makeTarget.FindAllStringSubmatch(at.read(name), -1) {
		targets = append(targets, m[1])
	}

	var used []string
	for _, t := range makeTargets {
		if slices.Contains(targets, t) && !(t == "all" && slices.Contains(used, "build")) {
			p.add(at, module{name: t, command: []string{"make", t}, tools: []string{"make"}})
			used = append(used, t)
		}
	}
	if used == nil {
		p.add(at, module{name: "make", command: []string{"make"}, tools: []string{"make"}})
		used = []string{"the default goal"}
	}

	p.Found = append(p.Found, name+": "+strings.Join(used, ", "))
}

// addImage adds the build of a Dockerfile, if the person asks for it: not every worker
// has docker.
func addImage(p *Project) {
	var needs []string
	for _, m := range p.modules {
		needs = append(needs, m.name)
	}

	p.image = true
	p.Found = append(p.Found, "Dockerfile: build, with -var image=true")
	p.add(&part{}, module{name: "image", description: "Runs with -var image=true, on a worker that has docker", when: "var.image",
		command: []string{"docker", "build", "-t", slug(strings.ReplaceAll(strings.ToLower(p.Name), "_", "-")), "."}, tools: []string{"docker"}, dependsOn: needs})
}
