package main

import (
	"fmt"
	"strings"
)

// hcl writes a shape as a pipeline: modules of one command, of which parallel
// run at the same time over the whole cluster, without files.
func hcl(s shape, argv []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "pipeline \"bench\" {\n  max_parallel = %d\n  workspace { exclude = [\"**\"] }\n", parallel)

	quoted := make([]string, len(argv))
	for i, a := range argv {
		// HCL's own marks must not begin an expression.
		quoted[i] = strings.NewReplacer("${", "$${", "%{", "%%{").Replace(fmt.Sprintf("%q", a))
	}

	for l := range s.layers {
		deps := ""
		if l > 0 {
			names := strings.Fields(layerNames(l-1, s.width))
			deps = "    depends_on = [module." + strings.Join(names, ", module.") + "]\n"
		}
		for i := range s.width {
			fmt.Fprintf(&b, "  module %q {\n    command = [%s]\n%s  }\n", moduleName(l, i), strings.Join(quoted, ", "), deps)
		}
	}

	b.WriteString("}\n")

	return b.String()
}
