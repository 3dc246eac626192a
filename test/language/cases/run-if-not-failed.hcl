# run: succeeded
# rules: 5
# kill
# lint: succeeded
# docs: skipped "when is false"
# extra: skipped "when is false: module.lint.result.more"
# pages: skipped "dependency docs was skipped"
# package: succeeded
# log package: docs=skipped extra=skipped pages=skipped lint=succeeded
# log package: more=no
# log package: exit=none outputs=0 cached=false result={}
# plain: skipped "was skipped"
pipeline "run_if_not_failed" {
  workspace {
    exclude = ["**"]
  }
  module "lint" {
    command = ["sh", "-c", "echo '{\"more\": false}' > $PIPELINED_OUTPUT"]
  }
  module "docs" {
    when    = false
    command = ["true"]
  }
  module "extra" {
    when    = module.lint.result.more
    command = ["sh", "-c", "echo more=yes >> $PIPELINED_OUTPUT"]
  }
  module "pages" {
    depends_on = [module.docs]
    command    = ["true"]
  }
  module "package" {
    run_if = "not_failed"
    script = <<-SH
      echo docs=${module.docs.status} extra=${module.extra.status} pages=${module.pages.status} lint=${module.lint.status}
      echo more=${try(module.extra.result.more, "no")}
      echo exit=${module.extra.exit_code == null ? "none" : "some"} outputs=${length(module.extra.outputs)} cached=${module.extra.cached} 'result=${jsonencode(module.extra.result)}'
    SH
  }
  module "plain" {
    depends_on = [module.lint, module.extra]
    run_if     = "succeeded"
    command    = ["true"]
  }
}
