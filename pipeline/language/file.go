package language

import (
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/pipelined/pipelined/pipeline"
)

// File is a pipeline's source, decoded and checked as far as that is possible
// without the values of its variables. Make one with Parse. It never changes.
type File struct {
	src       *source
	nameAt    hcl.Range
	workspace Workspace

	// imports are the texts of imported files by their paths.
	imports map[string]string
	// original is the text as it was given. sources are those of the pipelines that
	// modules run, and of what these import, levels how deep they run others, and costly
	// is set if one has an expensive expression.
	original []byte
	sources  map[string]string
	levels   int
	costly   bool

	// pipeline has what is already known, pending what needs variables.
	pipeline pipeline.Pipeline
	pending  []pending[pipeline.Pipeline]
	env      environment

	templates    map[string]*template
	requirements []*requirement
	hooks        ownHooks
	notifies     []*notify
	envFrom      []string
	schedule     settings[pipeline.Schedule]
	concurrency  settings[pipeline.Concurrency]

	variables []*variable
	locals    []*local
	// localOrder has each local after those it names.
	localOrder []int
	modules    []*module

	variableIndex map[string]int
	localIndex    map[string]int
	moduleIndex   map[string]int

	// texts and numbers are what LostZeros looks at.
	texts   []textUse
	numbers []numberUse
	// git are the places that name facts of git.
	git []reference
	// expensive are the expressions whose cost is not known beforehand and that
	// Compile has to evaluate.
	expensive []hclsyntax.Expression
}

// Workspace is what a pipeline says of the files that go along with it.
type Workspace struct {
	// Root is relative to the directory of the pipeline's file: ".", a directory in
	// it, or one above ("..").
	Root string
	// Exclude are globs of what stays behind.
	Exclude []string
	// Declared is set if the pipeline has a workspace block.
	Declared bool
}

// Workspace returns the pipeline's selection of files; without a workspace
// block, all of its own directory.
func (f *File) Workspace() Workspace { return f.workspace }

// Name is the pipeline's name.
func (f *File) Name() string { return f.pipeline.Name }

// EnvFrom returns the patterns, sorted, of the variables that the pipeline
// reads from the environment in which it is submitted.
func (f *File) EnvFrom() []string {
	list := slices.Clone(f.envFrom)
	for _, m := range f.modules {
		list = append(list, m.envFrom...)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// FileName is the name that Parse was given.
func (f *File) FileName() string { return f.src.name }

// Imports returns the texts of the files that the pipeline imports or runs, directly or
// not, by their paths relative to the directory of its own file; nil if there are none.
// The caller must not change it.
func (f *File) Imports() map[string]string {
	if len(f.sources) == 0 {
		return f.imports
	}
	all := maps.Clone(f.sources)
	maps.Copy(all, f.imports)
	return all
}

// ModuleNames are the names of the modules in the order of the source.
func (f *File) ModuleNames() []string {
	names := make([]string, len(f.modules))
	for i, m := range f.modules {
		names[i] = m.static.Name
	}
	return names
}

// pending is an attribute that is known at submission but not before.
type pending[T any] struct {
	name string
	spec *spec[T]
	expr hclsyntax.Expression
	refs *references
}

// deferrable is an attribute that may have to wait for results.
type deferrable struct {
	// name is the key in pipeline.Module.Deferred.
	name string
	expr hclsyntax.Expression
	refs *references
	// text is the source of expr and its place.
	text pipeline.DeferredExpr
	// waits is set if it names a module or the run's number, itself or through
	// a local; waitsForID if it names the run's id or
	// tick.
	waits, waitsForID bool
	// sensitive is set if it names a sensitive variable, itself or through a
	// local.
	sensitive bool
}

// unknown reports whether the attribute has no value before dispatch.
func (l *deferrable) unknown(runIDKnown bool) bool { return l.waits || (l.waitsForID && !runIDKnown) }

// environment is an env attribute.
type environment struct {
	at hcl.Range
	// static are the entries whose values are constants.
	static map[string]string
	// entries are the others, by name; whole is set instead if the names
	// themselves are not written out.
	entries []*deferrable
	whole   *deferrable
}

// local is one name of a locals block.
type local struct {
	name  string
	at    hcl.Range
	value deferrable
	// modules are the indexes of those it names, itself or through locals, in
	// ascending order.
	modules []int
	// expensive is set if it, or a local that it names, is.
	expensive bool
}

// module is one module block.
type module struct {
	at      hcl.Range // its label
	static  pipeline.Module
	pending []pending[pipeline.Module]
	// message is the message of an approval, if it is not constant.
	message *deferrable
	// command, script, when and cacheKey are set if they are given and not
	// constant.
	command, script, when, cacheKey *deferrable
	// base is the env of the template that the module uses, env its own.
	base, env environment
	// child is the file of the pipeline that it runs, childAt where it is named; nil if it
	// runs none. childStatic and variables are what that gets.
	child       *File
	childAt     hcl.Range
	childStatic map[string]cty.Value
	variables   []*deferrable
	// instances is what the module is run for; nil if it is run once.
	instances *instances
	// lockAt and disconnectAt are the positions of not_in_parallel and
	// on_disconnect.
	lockAt, disconnectAt *hcl.Range
	// secretsAt is the position of secrets, runIfAt that of run_if.
	secretsAt, runIfAt *hcl.Range
	envFrom            []string
	// scripts are the script attribute and those of the hooks. commandExpr is the
	// expression of command; nil if there is none.
	scripts     []scriptText
	commandExpr hclsyntax.Expression
	retryAt     *hcl.Range
	// depends are the names that depends_on lists.
	depends []reference
	// only are the instances that depends_on or optional_depends_on names, by
	// module index, for modules that are not named in any other way.
	only, onlyWished map[int][]reference
	// optional are those of optional_depends_on; wishes are their indexes.
	optional []reference
	wishes   []int
	// needs are the indexes of the modules it depends on, in ascending order.
	needs []int
}
