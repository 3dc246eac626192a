# run: succeeded
# rules: 4 child
# kill
# outer: succeeded
# after: succeeded
# log after: deep! 7
pipeline "child-nested" {
  module "outer" {
    pipeline  = "lib/middle.hcl"
    variables = { word = "deep" }
  }
  module "after" {
    command = ["echo", module.outer.result.in.say.word, module.outer.result.in["count[0]"].n]
  }
}
