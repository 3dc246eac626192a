# run: succeeded
# rules: s27 3
# first: succeeded
# second: succeeded
# log second: A-B-C
pipeline "expression_helper" {
  workspace {
    exclude = ["**"]
  }
  module "first" {
    command = ["sh", "-c", "echo '{\"list\": [\"a\", \"b\", \"c\"]}' > $PIPELINED_OUTPUT"]
  }
  module "second" {
    command = ["echo", join("-", [for x in module.first.result.list : upper(x)])]
  }
}
