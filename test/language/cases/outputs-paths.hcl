# run: succeeded
# rules: s24
# a: succeeded
# b: succeeded
# log b: d/x.txt
# log b: content
pipeline "outputs_paths" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    script  = "mkdir d; echo content > d/x.txt"
    outputs = ["d/*.txt"]
  }
  module "b" {
    script = "echo ${module.a.outputs[0]}; cat d/x.txt"
  }
}
