module centralita.example/go

go 1.22
