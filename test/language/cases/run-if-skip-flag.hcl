# run: succeeded
# rules: 5 9
# flags: -skip lint -skip docs
# lint: skipped "left out with -skip"
# docs: skipped "left out with -skip"
# pages: skipped "dependency docs was skipped"
# test: succeeded
# deploy: succeeded
# wish: succeeded
pipeline "run_if_skip_flag" {
  workspace {
    exclude = ["**"]
  }
  module "lint" {
    command = ["false"]
  }
  module "docs" {
    command = ["false"]
  }
  module "pages" {
    depends_on = [module.docs]
    command    = ["true"]
  }
  module "test" {
    command = ["true"]
  }
  module "deploy" {
    depends_on = [module.lint, module.pages, module.test]
    run_if     = "not_failed"
    command    = ["true"]
  }
  // -skip leaves a module out of optional_depends_on, with run_if or without.
  module "wish" {
    optional_depends_on = [module.lint]
    run_if              = "not_failed"
    command             = ["true"]
  }
}
