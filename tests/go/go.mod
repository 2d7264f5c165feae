module centralita.example/tests

go 1.22

require centralita.example/go v0.0.0

replace centralita.example/go => ../../examples/go
