# run: succeeded
# rules: s24
# kill
# make: succeeded
# use: succeeded
# here: succeeded
# odd: succeeded
# log use: ./made/app ./made/tmp/keep
# log here: ./!odd.hcl ./globs-taken-away.hcl
pipeline "globs_taken_away" {
  workspace {
    exclude = ["**", "!globs-taken*.hcl"]
  }
  module "make" {
    inputs           = []
    script           = "mkdir -p made/tmp logs && touch made/app made/tmp/a made/tmp/keep logs/x"
    outputs          = ["made/**", "!made/tmp", "made/tmp/keep"]
    outputs_optional = ["logs/*", "!logs/**"]
  }
  module "use" {
    depends_on = [module.make]
    inputs     = ["**", "!*.hcl"]
    script     = "echo $(find . -type f | sort)"
  }
  module "odd" {
    inputs  = []
    script  = "touch '!odd.hcl' even.hcl"
    outputs = ["./!odd.hcl"]
  }
  module "here" {
    depends_on = [module.odd]
    script     = "echo $(find . -type f | sort)"
  }
}
