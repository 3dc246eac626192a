# run: failed
# rules: s24
# a: failed "no file matches outputs out/*, or its patterns with ! leave nothing"
pipeline "globs_nothing_left" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    script  = "mkdir out && touch out/a.tmp out/b.tmp b"
    outputs = ["b", "out/*", "!**/*.tmp"]
  }
}
