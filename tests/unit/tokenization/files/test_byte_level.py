from alm_lightning.tokenization.files.byte_level import spell


def test_a_token_is_written_in_letters_of_the_byte_alphabet():
    assert spell(" é".encode()) == "ĠÃ©"
