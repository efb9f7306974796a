"""The server keeps to its OpenAPI document: schemathesis sends what fits it and what does not."""


def test_every_answer_is_documented(server, tmp_path):
    statuses = {status for _, status in server.answer_schemathesis(tmp_path)}
    assert {200, 405, 415, 422} <= statuses


def test_every_refusal_has_the_shape_of_the_document(server):
    document = server.ask("/openapi.json").json()
    responses = document["paths"]["/v1/predict"]["post"]["responses"]
    assert {"200", "400", "404", "405", "408", "413", "415", "422", "429", "500", "503"} == set(responses)
    for status, response in responses.items():
        schema = response["content"]["application/json"]["schema"]
        assert schema == {"$ref": f"#/components/schemas/{'Answers' if status == '200' else 'ErrorBody'}"}
    assert "Retry-After" in responses["429"]["headers"]


def test_a_result_has_the_fields_of_its_kind_of_task(server):
    schemas = server.ask("/openapi.json").json()["components"]["schemas"]
    rows = {
        "ClassificationRow": ["text", "label", "probability", "probabilities"],
        "PairClassificationRow": ["text", "text_b", "label", "probability", "probabilities"],
        "PairRegressionRow": ["text", "text_b", "score"],
        "TokenClassificationRow": ["text", "entities"],
        "PairReadingRow": ["text", "text_b", "answer", "start", "end", "probability", "n_best"],
    }
    assert {name: list(schemas[name]["properties"]) for name in rows} == {k: [*v, "truncated"] for k, v in rows.items()}
    assert {name: schemas[name]["required"] for name in rows} == rows, "truncated is said only where it is true"
    results = schemas["Answers"]["properties"]["results"]["items"]["anyOf"]
    assert [row["$ref"].rpartition("/")[2] for row in results] == list(rows)
