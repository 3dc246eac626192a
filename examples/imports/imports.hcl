# Two modules out of a template that another file has. Other pipelines may import it too.
#
#   pipelined run examples/imports/imports.hcl
#   pipelined run -var loud=true examples/imports/imports.hcl

pipeline "imports" {
  description = "Counts words, by a template of an imported file"
  imports     = ["lib/text.hcl"]

  module "count" {
    use = template.text
    env = { TEXT = local.text }
  }

  module "report" {
    command = ["echo", "${module.count.result.words} words in all"]
  }
}
